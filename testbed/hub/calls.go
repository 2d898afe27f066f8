package main

import (
	"maps"
	"net/http"
	"regexp"
	"sync"
)

// calls counts requests since the start or the last reset.
type calls struct {
	mu     sync.Mutex
	counts map[string]int
}

// count counts every request by what it is for, whatever its answer.
func (c *calls) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		if c.counts == nil {
			c.counts = map[string]int{}
		}
		c.counts[kind(r.Method, r.URL.Path)]++
		c.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func (c *calls) snapshot() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		return map[string]int{}
	}
	return maps.Clone(c.counts)
}

func (c *calls) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts = nil
}

// The greedy start of each pattern lets a repository's name hold the words that end it.
var kinds = []struct {
	path *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`^/token$`), "token"},
	{regexp.MustCompile(`^/v2/?$`), "base"},
	{regexp.MustCompile(`^/v2/.+/tags/list$`), "tags"},
	{regexp.MustCompile(`^/v2/.+/blobs/uploads/[^/]*$`), "upload"},
	{regexp.MustCompile(`^/v2/.+/manifests/[^/]+$`), "manifest"},
	{regexp.MustCompile(`^/v2/.+/blobs/[^/]+$`), "blob"},
	{regexp.MustCompile(`^/v2/.+/referrers/[^/]+$`), "referrers"},
}

// kind names what a request is for, such as "HEAD manifest".
func kind(method, path string) string {
	for _, kind := range kinds {
		if kind.path.MatchString(path) {
			return method + " " + kind.what
		}
	}
	return "other"
}
