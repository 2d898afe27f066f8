package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/google/uuid"
)

// window is the time over which pulls are counted, unless a source has another one.
const window = 6 * time.Hour

// rateLimit is Docker Hub's pull limit.
//
// A pull is a GET of a manifest; a HEAD is free. An image index counts once for each of its platforms: the GET of the
// index is one pull, which includes the GET of one of its manifests, and every further one of them is a pull.
// See https://docs.docker.com/docker-hub/usage/pulls/
type rateLimit struct {
	now func() time.Time

	mu      sync.Mutex
	pulls   int
	budgets map[string]*budget
}

// budget is what one source, an address or a user, has left.
type budget struct {
	limit     int
	window    time.Duration
	remaining int
	started   time.Time
	// included holds, by the digest of a manifest, the index pull that includes it, if it is not used up.
	included map[string]*included
}

type included struct{ used bool }

func newRateLimit(limit int, now func() time.Time) *rateLimit {
	return &rateLimit{now: now, pulls: limit, budgets: map[string]*budget{}}
}

// set gives every source a limit (0: none) and so much of it.
func (l *rateLimit) set(limit, remaining int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pulls = limit
	started := l.now()
	for _, budget := range l.budgets {
		budget.limit, budget.remaining, budget.started, budget.included = limit, remaining, started, map[string]*included{}
	}
	// Sources that were not seen yet start from the same.
	l.budgets[""] = &budget{limit: limit, window: window, remaining: remaining, started: started}
}

// setUser gives one user a limit (0: none) of its own, so much of it, and a window that begins now.
func (l *rateLimit) setUser(user string, limit, remaining int, window time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budgets[source(user, "")] = &budget{
		limit: limit, window: window, remaining: remaining, started: l.now(), included: map[string]*included{},
	}
}

// left tells the limit of a user, and what is left of it.
func (l *rateLimit) left(user string) (limit, remaining int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	budget := l.of(source(user, ""))
	return budget.limit, budget.remaining
}

// of gives the budget of a source; the caller holds the lock.
func (l *rateLimit) of(source string) *budget {
	now := l.now()
	found, ok := l.budgets[source]
	if !ok {
		found = &budget{limit: l.pulls, window: window, remaining: l.pulls, started: now, included: map[string]*included{}}
		if start, ok := l.budgets[""]; ok && now.Sub(start.started) < window {
			found.remaining, found.started = start.remaining, start.started
		}
		l.budgets[source] = found
	}
	if now.Sub(found.started) >= found.window {
		found.remaining, found.started, found.included = found.limit, now, map[string]*included{}
	}
	return found
}

// limit lets pulls through while the source's budget lasts.
func (l *rateLimit) limit(issuer *issuer, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		get := r.Method == http.MethodGet
		manifest := kind(http.MethodGet, r.URL.Path) == "GET manifest"
		if !manifest || (!get && r.Method != http.MethodHead) {
			next.ServeHTTP(w, r)
			return
		}
		user := issuer.subject(r)
		source := source(user, r.RemoteAddr)
		if get && !l.allows(source, path.Base(r.URL.Path)) {
			l.refuse(w, source, user)
			return
		}
		answer := &buffered{header: w.Header(), status: http.StatusOK}
		next.ServeHTTP(answer, r)
		if get && answer.status == http.StatusOK {
			l.charge(source, path.Base(r.URL.Path), answer.body.Bytes())
		}
		if answer.status == http.StatusOK {
			l.setHeaders(w.Header(), source)
		}
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes())
	})
}

// allows tells whether the source may pull, be it that an earlier pull includes this one.
func (l *rateLimit) allows(source, reference string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	budget := l.of(source)
	pull := budget.included[reference]
	return budget.limit == 0 || budget.remaining > 0 || (pull != nil && !pull.used)
}

// charge takes a pull from the source's budget, unless an earlier one includes it.
func (l *rateLimit) charge(source, reference string, manifest []byte) {
	var index struct {
		Manifests []struct {
			Digest string `json:"digest"`
		} `json:"manifests"`
	}
	_ = json.Unmarshal(manifest, &index)

	l.mu.Lock()
	defer l.mu.Unlock()
	budget := l.of(source)
	if pull := budget.included[reference]; pull != nil && !pull.used {
		pull.used = true
	} else {
		budget.remaining = max(0, budget.remaining-1)
	}
	pull := new(included)
	for _, child := range index.Manifests {
		budget.included[child.Digest] = pull
	}
}

func (l *rateLimit) setHeaders(header http.Header, source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	budget := l.of(source)
	if budget.limit == 0 {
		return
	}
	seconds := int(budget.window.Seconds())
	header.Set("ratelimit-limit", fmt.Sprintf("%d;w=%d", budget.limit, seconds))
	header.Set("ratelimit-remaining", fmt.Sprintf("%d;w=%d", budget.remaining, seconds))
	header.Set("docker-ratelimit-source", source)
}

func (l *rateLimit) refuse(w http.ResponseWriter, source, user string) {
	message := "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"
	if user != "" {
		message = "You have reached your pull rate limit. You may increase the limit by upgrading: https://www.docker.com/increase-rate-limit"
	}
	l.setHeaders(w.Header(), source)
	writeJSON(w, http.StatusTooManyRequests, map[string]any{
		"errors": []any{map[string]string{"code": "TOOMANYREQUESTS", "message": message}},
	})
}

// source names whose budget a pull is on: the user's, by an ID, or the address's.
func source(user, address string) string {
	if user != "" {
		return uuid.NewSHA1(uuid.NameSpaceURL, []byte(user)).String()
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// buffered holds an answer back until its headers are complete. A manifest is small.
type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffered) Header() http.Header { return b.header }

func (b *buffered) WriteHeader(status int) { b.status = status }

func (b *buffered) Write(bytes []byte) (int, error) { return b.body.Write(bytes) }
