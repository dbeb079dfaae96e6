#pragma once
// Parsing: the new bytes of many files become SourceFile::current, in the order in which they were added. Whoever needs
// some of them waits for those alone, and parses what stands before them meanwhile; other threads may help.
//
// One thread adds, starts, needs and destroys. What was added is touched by nobody else until it was needed. An
// exception of the parser comes out of need().

#include <atomic>
#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "config/source_file.h"

namespace edgemux::config {

class Parsing {
 public:
  using Bytes = std::shared_ptr<const std::string>;

  Parsing() = default;
  // Ends what is under way, and leaves the rest.
  ~Parsing() {
    next_.store(jobs_.size());
    for (auto& helper : helpers_) helper.join();
  }
  Parsing(const Parsing&) = delete;
  Parsing& operator=(const Parsing&) = delete;

  void add(SourceFile& file, Bytes bytes) { by_file_.emplace(&file, &jobs_.emplace_back(&file, std::move(bytes))); }
  // After everything was added.
  void start(std::size_t helpers) {
    while (helpers_.size() < helpers) {
      helpers_.emplace_back([this] {
        while (work()) {
        }
      });
    }
  }
  // Returns when those of the files that were added are parsed.
  void need(const std::vector<SourceFile*>& files) {
    for (SourceFile* file : files) {
      const auto at = by_file_.find(file);
      if (at == by_file_.end()) continue;
      const Job& job = *at->second;
      while (!job.done.load()) {
        if (!work()) job.done.wait(false);
      }
      if (job.failure) std::rethrow_exception(job.failure);
    }
  }
  [[nodiscard]] std::size_t size() const { return jobs_.size(); }

 private:
  struct Job {
    Job(SourceFile* which, Bytes what) : file(which), bytes(std::move(what)) {}
    SourceFile* file;
    Bytes bytes;
    std::exception_ptr failure;
    std::atomic<bool> done{false};
  };

  // The next one. False: there is none left.
  bool work() {
    const std::size_t at = next_.fetch_add(1);
    if (at >= jobs_.size()) return false;
    Job& job = jobs_[at];
    try {
      job.file->current = parse_file(job.bytes, job.file->path, job.file->display, false);
    } catch (...) {
      job.failure = std::current_exception();
    }
    job.done.store(true);
    job.done.notify_all();
    return true;
  }

  std::deque<Job> jobs_;
  std::unordered_map<const SourceFile*, Job*> by_file_;
  std::atomic<std::size_t> next_{0};
  std::vector<std::thread> helpers_;
};

}  // namespace edgemux::config
