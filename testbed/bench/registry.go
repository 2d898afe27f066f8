package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/cache"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/sirupsen/logrus"
)

// registry is CNCF distribution over TLS, HTTP/2 included, on two ports: at once, and through a proxy that adds a round
// trip. It counts requests by kind, and bytes as they pass the sockets.
type registry struct {
	root    string
	number  int
	app     atomic.Pointer[http.Handler]
	mu      sync.Mutex
	kinds   map[string]int64
	in, out atomic.Int64
}

// addresses is what a registry tells who started it.
type addresses struct{ Direct, Delayed, Control string }

// counts is what a registry has seen since the last time it was asked.
type counts struct {
	Requests map[string]int64 `json:"requests"`
	BytesIn  int64            `json:"bytesIn"`
	BytesOut int64            `json:"bytesOut"`
}

// runRegistry serves until it is killed. Its first line of output is its addresses.
func runRegistry(root, certificate, key string, roundTrip time.Duration) error {
	logrus.SetLevel(logrus.PanicLevel)
	r := &registry{root: root, kinds: map[string]int64{}}
	if err := r.reset(); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	direct, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:   r,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		ErrorLog:  log.New(os.Stderr, "", 0),
	}
	go func() { log.Fatal(server.ServeTLS(&countingListener{direct, r}, "", "")) }()
	delayed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { log.Fatal(delay(delayed, direct.Addr().String(), roundTrip/2)) }()
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	told := addresses{direct.Addr().String(), delayed.Addr().String(), control.Addr().String()}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(r.take()) })
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		if err := r.reset(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return http.Serve(control, mux)
}

// reset empties the registry.
func (r *registry) reset() error {
	old := filepath.Join(r.root, storageName(r.number))
	r.number++
	config := &configuration.Configuration{
		Version: configuration.CurrentVersion,
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": filepath.Join(r.root, storageName(r.number))},
			"cache":       configuration.Parameters{"blobdescriptor": "inmemory"},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	config.HTTP.Secret = rand.Text()
	config.Log.AccessLog.Disabled = true
	config.Log.Level = "panic"
	var app http.Handler = handlers.NewApp(context.Background(), config)
	r.app.Store(&app)
	return os.RemoveAll(old)
}

func storageName(number int) string { return "storage-" + string(rune('a'+number%26)) }

func (r *registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	r.kinds[kind(request)]++
	r.mu.Unlock()
	(*r.app.Load()).ServeHTTP(w, request)
}

// kind sorts a request: its method and what it is about.
func kind(request *http.Request) string {
	path := request.URL.Path
	switch {
	case request.URL.Query().Has("mount"):
		return "POST mount"
	case strings.Contains(path, "/blobs/uploads/"):
		return request.Method + " upload"
	case strings.Contains(path, "/blobs/"):
		return request.Method + " blob"
	case strings.Contains(path, "/manifests/"):
		return request.Method + " manifest"
	case strings.HasSuffix(path, "/tags/list"):
		return request.Method + " tags"
	case path == "/v2/":
		return request.Method + " ping"
	}
	return request.Method + " other"
}

func (r *registry) take() counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := counts{r.kinds, r.in.Swap(0), r.out.Swap(0)}
	r.kinds = map[string]int64{}
	return taken
}

type countingListener struct {
	net.Listener
	registry *registry
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{conn, l.registry}, nil
}

type countingConn struct {
	net.Conn
	registry *registry
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.registry.in.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.registry.out.Add(int64(n))
	return n, err
}
