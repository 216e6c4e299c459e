// A client of TLS that costs little: handshakes in a row over several connections at once, or one large body.
//
// Usage: tls_client ADDRESS VERSION KIND CONNECTIONS SECONDS
//
//	tls_client ADDRESS VERSION body BYTES WAY FRAMING
//
// VERSION is 1.2 or 1.3. KIND is full or resumed, with "+get" for a request on each connection. A handshake counts when
// the server has closed after the client's close_notify, so that the server has completed it too.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type result struct {
	Handshakes int     `json:"handshakes"`
	Resumed    int     `json:"resumed"`
	Errors     int     `json:"errors"`
	Bytes      int64   `json:"bytes"`
	Seconds    float64 `json:"seconds"`
	CPU        float64 `json:"cpu"`
	Error      string  `json:"error"`
}

var request = []byte("GET / HTTP/1.1\r\nHost: bench\r\n\r\n")

func configuration(version string, resumes bool) *tls.Config {
	number := uint16(tls.VersionTLS13)
	if version == "1.2" {
		number = tls.VersionTLS12
	}
	found := &tls.Config{InsecureSkipVerify: true, MinVersion: number, MaxVersion: number}
	found.DynamicRecordSizingDisabled = true
	if resumes {
		found.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	}
	return found
}

// One connection, from its opening to its end by the server. Returns whether its session was resumed.
func shake(address string, config *tls.Config, get bool) (bool, error) {
	plain, err := net.Dial("tcp", address)
	if err != nil {
		return false, err
	}
	defer plain.Close()
	plain.SetDeadline(time.Now().Add(20 * time.Second))
	secured := tls.Client(plain, config)
	if err := secured.Handshake(); err != nil {
		return false, err
	}
	if get {
		if _, err := secured.Write(request); err != nil {
			return false, err
		}
		answer, err := http.ReadResponse(bufio.NewReader(secured), nil)
		if err != nil {
			return false, err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return false, err
		}
	}
	if err := secured.CloseWrite(); err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, secured) // tickets come meanwhile
	if err == io.ErrUnexpectedEOF {       // a server need not send close_notify when it has received one
		err = nil
	}
	return secured.ConnectionState().DidResume, err
}

func handshakes(address, version, kind string, connections int, seconds float64) result {
	resumes, get := strings.HasPrefix(kind, "resumed"), strings.HasSuffix(kind, "+get")
	var total result
	var lock sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	end := began.Add(time.Duration(seconds * float64(time.Second)))
	for number := 0; number < connections; number++ {
		all.Add(1)
		go func() {
			defer all.Done()
			config := configuration(version, resumes)
			config.ServerName = "localhost"
			var own result
			for first := resumes; time.Now().Before(end); first = false {
				resumed, err := shake(address, config, get || first)
				switch {
				case err != nil:
					own.Errors++
					own.Error = err.Error()
				case first: // it brings the ticket
				default:
					own.Handshakes++
					if resumed {
						own.Resumed++
					}
				}
			}
			lock.Lock()
			total.Handshakes += own.Handshakes
			total.Resumed += own.Resumed
			total.Errors += own.Errors
			if own.Error != "" {
				total.Error = own.Error
			}
			lock.Unlock()
		}()
	}
	all.Wait()
	total.Seconds = time.Since(began).Seconds()
	return total
}

func body(address, version string, size int64, way, framing string) result {
	secured, err := tls.Dial("tcp", address, configuration(version, false))
	if err != nil {
		log.Fatal(err)
	}
	defer secured.Close()
	secured.SetDeadline(time.Now().Add(120 * time.Second))
	began := time.Now()
	reader := bufio.NewReaderSize(secured, 1<<16)
	if way == "down" {
		fmt.Fprintf(secured, "GET /%s/%d HTTP/1.1\r\nHost: bench\r\n\r\n", framing, size)
	} else {
		send(secured, size, framing == "chunked")
	}
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		log.Fatal(err)
	}
	arrived := int64(0)
	if way == "down" {
		arrived, err = io.Copy(io.Discard, answer.Body)
	} else {
		_, err = fmt.Fscan(answer.Body, &arrived)
	}
	if err != nil || arrived != size || answer.StatusCode != 200 {
		log.Fatalf("status %d, %d of %d bytes, %v", answer.StatusCode, arrived, size, err)
	}
	return result{Handshakes: 1, Bytes: arrived, Seconds: time.Since(began).Seconds()}
}

func send(to io.Writer, size int64, chunked bool) {
	piece := make([]byte, 1<<16)
	field := fmt.Sprintf("Content-Length: %d", size)
	if chunked {
		field = "Transfer-Encoding: chunked"
		piece = append(append([]byte("10000\r\n"), piece...), "\r\n"...)
	}
	fmt.Fprintf(to, "PUT / HTTP/1.1\r\nHost: bench\r\n%s\r\n\r\n", field)
	for sent := int64(0); sent < size; sent += 1 << 16 {
		if _, err := to.Write(piece); err != nil {
			log.Fatal(err)
		}
	}
	if chunked {
		io.WriteString(to, "0\r\n\r\n")
	}
}

func number(text string) float64 {
	found, err := strconv.ParseFloat(text, 64)
	if err != nil {
		log.Fatal(err)
	}
	return found
}

func main() {
	var found result
	if given := os.Args[1:]; given[2] == "body" {
		found = body(given[0], given[1], int64(number(given[3])), given[4], given[5])
	} else {
		found = handshakes(given[0], given[1], given[2], int(number(given[3])), number(given[4]))
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	found.CPU = float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
	json.NewEncoder(os.Stdout).Encode(found)
}
