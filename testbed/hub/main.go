// Command hub is the Docker Hub stand-in of the local stack: CNCF distribution, which Docker Hub runs itself, behind
// Docker Hub's token server and pull limit, in one process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// users collects repeated --user flags, each NAME:PASSWORD.
type users map[string]string

func (u users) String() string { return "" }

func (u users) Set(value string) error {
	name, password, found := strings.Cut(value, ":")
	if !found || name == "" || password == "" {
		return errors.New("must be NAME:PASSWORD")
	}
	u[name] = password
	return nil
}

type options struct {
	listen, authListen, plainListen, controlListen string
	silentListen                                   string
	realm, tlsCert, tlsKey, storage                string
	rateLimit                                      int
	users                                          users
}

func main() {
	opts := options{users: users{}}
	flag.StringVar(&opts.listen, "listen", "127.0.0.1:0", "address of the registry (TLS, token authentication, pull limit)")
	flag.StringVar(&opts.authListen, "auth-listen", "127.0.0.1:0", "address of the token server (TLS)")
	flag.StringVar(&opts.realm, "realm", "", "URL of the token server that the registry names; by default at its address (some clients want a host name)")
	flag.StringVar(&opts.plainListen, "plain-listen", "127.0.0.1:0", "address of the same registry over plain HTTP, open for pushing")
	flag.StringVar(&opts.controlListen, "control-listen", "127.0.0.1:0", "address of the control API for tests (plain HTTP)")
	flag.StringVar(&opts.silentListen, "silent-listen", "127.0.0.1:0", "address that takes connections and never answers")
	flag.StringVar(&opts.tlsCert, "tls-cert", "", "certificate chain, PEM")
	flag.StringVar(&opts.tlsKey, "tls-key", "", "private key of the certificate, PEM")
	flag.StringVar(&opts.storage, "storage", "", "directory that holds the repositories")
	flag.IntVar(&opts.rateLimit, "rate-limit", 5000, "pulls in six hours for each address or user; 0 means no limit")
	flag.Var(opts.users, "user", "a user, NAME:PASSWORD; may be repeated")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("hub: ")
	if err := run(opts); err != nil {
		log.Fatal(err)
	}
}

func run(opts options) error {
	for name, value := range map[string]string{"tls-cert": opts.tlsCert, "tls-key": opts.tlsKey, "storage": opts.storage} {
		if value == "" {
			return fmt.Errorf("--%s is required", name)
		}
	}
	// Distribution logs each request; faults make it log errors that tests asked for.
	logrus.SetOutput(io.Discard)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	listeners, err := listen(opts.listen, opts.authListen, opts.plainListen, opts.controlListen, opts.silentListen)
	if err != nil {
		return err
	}
	issuer, err := newIssuer(opts.users)
	if err != nil {
		return err
	}
	if opts.realm == "" {
		opts.realm = fmt.Sprintf("https://%s/token", listeners[1].Addr())
	}
	registry, err := newRegistry(ctx, opts.storage, issuer, opts.realm)
	if err != nil {
		return err
	}
	open := newOpenRegistry(ctx, opts.storage)
	calls, faults, limit := &calls{}, &faults{}, newRateLimit(opts.rateLimit, time.Now)

	front := calls.count(faults.strike(targetRegistry, limit.limit(issuer, registry)))
	tokens := calls.count(faults.strike(targetToken, issuer))
	control := newControl(calls, faults, limit, issuer)
	go keepSilent(listeners[4])
	log.Printf("registry %s, tokens %s, plain %s, control %s",
		listeners[0].Addr(), listeners[1].Addr(), listeners[2].Addr(), listeners[3].Addr())

	return serve(ctx, opts, []endpoint{
		{listeners[0], front, true},
		{listeners[1], tokens, true},
		{listeners[2], open, false},
		{listeners[3], control, false},
	})
}

func listen(addresses ...string) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, address := range addresses {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		listeners = append(listeners, listener)
	}
	return listeners, nil
}

// keepSilent takes connections and never says a word on them.
func keepSilent(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			_, _ = io.Copy(io.Discard, connection)
		}()
	}
}

type endpoint struct {
	listener net.Listener
	handler  http.Handler
	tls      bool
}

// serve answers on every endpoint until the context ends or one of them fails.
func serve(ctx context.Context, opts options, endpoints []endpoint) error {
	failed := make(chan error, len(endpoints))
	var servers []*http.Server
	for _, endpoint := range endpoints {
		// HTTP/1.1 only, as Docker Hub: there, dropping an answer drops its connection.
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		server := &http.Server{
			Handler:           endpoint.handler,
			Protocols:         protocols,
			ReadHeaderTimeout: time.Minute,
			ErrorLog:          log.New(io.Discard, "", 0),
		}
		servers = append(servers, server)
		go func() {
			if endpoint.tls {
				failed <- server.ServeTLS(endpoint.listener, opts.tlsCert, opts.tlsKey)
			} else {
				failed <- server.Serve(endpoint.listener)
			}
		}()
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	// Requests under way get a moment to end, then they are cut.
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var wait sync.WaitGroup
	for _, server := range servers {
		wait.Go(func() {
			if server.Shutdown(grace) != nil {
				_ = server.Close()
			}
		})
	}
	wait.Wait()
	return err
}
