#pragma once
// UpstreamList: the upstreams of a table, in parts that tables share: what did not change between two tables is the
// very same part, so that whoever follows the tables looks at the others only. Immutable, cheap to copy.

#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "routing/table/upstream.h"

namespace edgemux::routing {

class UpstreamList {
 public:
  using Part = std::shared_ptr<const std::vector<UpstreamPtr>>;  // never null

  UpstreamList() = default;
  UpstreamList(std::vector<UpstreamPtr> upstreams) {  // NOLINT(google-explicit-constructor): it is one, in parts
    add(std::make_shared<const std::vector<UpstreamPtr>>(std::move(upstreams)));
  }
  UpstreamList(std::initializer_list<UpstreamPtr> upstreams) : UpstreamList(std::vector<UpstreamPtr>(upstreams)) {}

  void add(Part part) {
    if (part->empty()) return;
    size_ += part->size();
    parts_.push_back(std::move(part));
  }

  class Iterator {
   public:
    using value_type = UpstreamPtr;
    using difference_type = std::ptrdiff_t;
    using pointer = const UpstreamPtr*;
    using reference = const UpstreamPtr&;
    using iterator_category = std::forward_iterator_tag;
    Iterator() = default;
    explicit Iterator(const Part* part) : part_(part) {}
    reference operator*() const { return (**part_)[at_]; }
    pointer operator->() const { return &**this; }
    Iterator& operator++() {
      if (++at_ == (*part_)->size()) {
        ++part_;
        at_ = 0;
      }
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    const Part* part_ = nullptr;
    std::size_t at_ = 0;
  };
  [[nodiscard]] Iterator begin() const { return Iterator(parts_.data()); }
  [[nodiscard]] Iterator end() const { return Iterator(parts_.data() + parts_.size()); }
  [[nodiscard]] const UpstreamPtr& at(std::size_t index) const {
    for (const Part& part : parts_) {
      if (index < part->size()) return (*part)[index];
      index -= part->size();
    }
    throw std::out_of_range("UpstreamList::at");
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const std::vector<Part>& parts() const { return parts_; }

 private:
  std::vector<Part> parts_;  // none is empty
  std::size_t size_ = 0;
};

}  // namespace edgemux::routing
