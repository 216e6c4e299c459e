// The design of the Go balancer that lbflask replaces: round robin in an atomic counter over httputil.ReverseProxy.
// Usage: go_proxy LISTEN IDLE_PER_HOST BACKEND…   (IDLE_PER_HOST 0 keeps Go's default of 2)
// With TLS_CERTIFICATE and TLS_KEY in the environment, the names of two files, it takes TLS.
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
)

func main() {
	idle, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if idle > 0 {
		transport.MaxIdleConns = 0
		transport.MaxIdleConnsPerHost = idle
	}
	var proxies []*httputil.ReverseProxy
	for _, raw := range os.Args[3:] {
		target, err := url.Parse(raw)
		if err != nil {
			log.Fatal(err)
		}
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.Transport = transport
		proxies = append(proxies, proxy)
	}
	var turn uint64
	balance := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxies[atomic.AddUint64(&turn, 1)%uint64(len(proxies))].ServeHTTP(w, r)
	})
	if certificate := os.Getenv("TLS_CERTIFICATE"); certificate != "" {
		log.Fatal(http.ListenAndServeTLS(os.Args[1], certificate, os.Getenv("TLS_KEY"), balance))
	}
	log.Fatal(http.ListenAndServe(os.Args[1], balance))
}
