package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"
)

// What a fault is for.
const (
	targetRegistry = "registry"
	targetToken    = "token"
)

// fault is a failure that a test asks for.
type fault struct {
	// Target is "registry", the default, or "token", the token server.
	Target string `json:"target"`
	// Method that it hits; every method when empty.
	Method string `json:"method"`
	// Path is a regular expression that is looked for in path and query; every path when empty.
	Path string `json:"path"`
	// Times is how many requests it hits: 1 by default, 0 means every one until it is removed.
	Times *int `json:"times"`
	// Status of the answer, which is given without asking the registry.
	Status int `json:"status"`
	// Code and Message of the error in that answer.
	Code    string `json:"code"`
	Message string `json:"message"`
	// Body of that answer, instead of the one made of code and message.
	Body *string `json:"body"`
	// Headers are set on the answer, whoever gave it.
	Headers map[string]string `json:"headers"`
	// DelayMs is how many milliseconds to wait before anything else happens.
	DelayMs int `json:"delayMs"`
	// Close drops the connection instead of an answer.
	Close bool `json:"close"`
	// TruncateBody sends so many bytes of the body, under the length of the whole one, then drops the connection.
	TruncateBody *int `json:"truncateBody"`
	// CorruptBody flips a bit of the body and keeps its length.
	CorruptBody bool `json:"corruptBody"`

	id   int
	left int
	path *regexp.Regexp
}

// faults are the faults that wait for their request.
type faults struct {
	mu      sync.Mutex
	lastID  int
	waiting []*fault
}

// add takes a fault in JSON; the oldest that matches is the one that hits.
func (f *faults) add(from io.Reader) (int, error) {
	added := &fault{}
	decoder := json.NewDecoder(from)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(added); err != nil {
		return 0, err
	}
	if added.Target == "" {
		added.Target = targetRegistry
	}
	if added.Target != targetRegistry && added.Target != targetToken {
		return 0, fmt.Errorf("target: must be %q or %q", targetRegistry, targetToken)
	}
	if added.Status != 0 && (added.Status < 200 || added.Status > 599) {
		return 0, errors.New("status: must be between 200 and 599")
	}
	var err error
	if added.path, err = regexp.Compile(added.Path); err != nil {
		return 0, fmt.Errorf("path: %w", err)
	}
	added.left = 1
	if added.Times != nil {
		added.left = *added.Times
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastID++
	added.id = f.lastID
	f.waiting = append(f.waiting, added)
	return added.id, nil
}

// remove removes a fault and tells whether there was one of that ID.
func (f *faults) remove(id int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.waiting)
	f.waiting = slices.DeleteFunc(f.waiting, func(fault *fault) bool { return fault.id == id })
	return len(f.waiting) < before
}

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = nil
}

// take gives the fault that hits a request, used up by one.
func (f *faults) take(target string, r *http.Request) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := slices.IndexFunc(f.waiting, func(fault *fault) bool {
		return fault.Target == target && (fault.Method == "" || fault.Method == r.Method) &&
			fault.path.MatchString(r.URL.RequestURI())
	})
	if at < 0 {
		return nil
	}
	hit := f.waiting[at]
	if hit.Times == nil || *hit.Times > 0 {
		hit.left--
		if hit.left == 0 {
			f.waiting = slices.Delete(f.waiting, at, at+1)
		}
	}
	return hit
}

// strike lets the faults of a target hit the requests before next answers them.
func (f *faults) strike(target string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := f.take(target, r)
		if fault == nil {
			next.ServeHTTP(w, r)
			return
		}
		sleep(r.Context(), time.Duration(fault.DelayMs)*time.Millisecond)
		if fault.Close {
			panic(http.ErrAbortHandler)
		}
		faulty := &faultyWriter{ResponseWriter: w, fault: fault}
		if fault.Status == 0 {
			next.ServeHTTP(faulty, r)
		} else {
			fault.answer(faulty)
		}
		// A body shorter than the cut is whole; nothing is left to drop.
	})
}

func (f *fault) answer(w http.ResponseWriter) {
	if f.Body != nil {
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, *f.Body)
		return
	}
	writeJSON(w, f.Status, map[string]any{
		"errors": []any{map[string]string{"code": f.Code, "message": f.Message}},
	})
}

func sleep(ctx context.Context, duration time.Duration) {
	select {
	case <-time.After(duration):
	case <-ctx.Done():
	}
}

// faultyWriter changes an answer on its way out.
type faultyWriter struct {
	http.ResponseWriter
	fault     *fault
	started   bool
	corrupted bool
	written   int
}

func (w *faultyWriter) WriteHeader(status int) {
	if !w.started {
		w.started = true
		for name, value := range w.fault.Headers {
			w.Header().Set(name, value)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *faultyWriter) Write(chunk []byte) (int, error) {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	if w.fault.CorruptBody && !w.corrupted && len(chunk) > 0 {
		w.corrupted = true
		chunk = slices.Clone(chunk)
		chunk[len(chunk)-1] ^= 1
	}
	cut := w.fault.TruncateBody
	if cut == nil || w.written+len(chunk) <= *cut {
		written, err := w.ResponseWriter.Write(chunk)
		w.written += written
		return written, err
	}
	_, _ = w.ResponseWriter.Write(chunk[:*cut-w.written])
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}
