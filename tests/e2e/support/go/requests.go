// Sends requests at a time with Go's own HTTP/2 client, and prints a line for each: its number, the status, the body.
//
//	requests ADDRESS URL CA COUNT METHOD [SIZE]
//
// ADDRESS is connected to whatever the URL says. "?" and its number follow the URL. A POST has a body that can be sent
// again; ONCE is a POST whose body cannot, of SIZE bytes. The environment may say how many CONNECTIONS there may be.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	address, url, method := os.Args[1], os.Args[2], os.Args[5]
	connections, _ := strconv.Atoi(os.Getenv("CONNECTIONS"))
	count, _ := strconv.Atoi(os.Args[4])
	pem, err := os.ReadFile(os.Args[3])
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	var dialer net.Dialer
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		MaxConnsPerHost:   connections,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
	}
	client := http.Client{Transport: transport, Timeout: 60 * time.Second}
	var all sync.WaitGroup
	for i := 0; i < count; i++ {
		all.Add(1)
		go func(number int) {
			defer all.Done()
			var body io.Reader
			verb := method
			if method == "POST" {
				body = strings.NewReader("number " + strconv.Itoa(number))
			} else if method == "ONCE" {
				verb = "POST"
				size, _ := strconv.Atoi(os.Args[6])
				body = io.MultiReader(strings.NewReader(strings.Repeat("x", size)))
			}
			request, _ := http.NewRequest(verb, url+"?"+strconv.Itoa(number), body)
			answer, err := client.Do(request)
			if err != nil {
				fmt.Printf("%d error %v\n", number, err)
				return
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil {
				fmt.Printf("%d error %v\n", number, err)
				return
			}
			fmt.Printf("%d %d %s %s\n", number, answer.StatusCode, answer.Proto, strings.TrimSpace(string(text)))
		}(i)
	}
	all.Wait()
}
