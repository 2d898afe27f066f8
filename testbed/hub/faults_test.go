package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// faulty serves "content" over a real connection, hit by a fault.
func faulty(t *testing.T, fault string) *httptest.Server {
	t.Helper()
	faults := &faults{}
	if _, err := faults.add(strings.NewReader(fault)); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(faults.strike(targetRegistry, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "7")
		_, _ = io.WriteString(w, "content")
	})))
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, server *httptest.Server) (*http.Response, string, error) {
	t.Helper()
	response, err := server.Client().Get(server.URL + "/v2/library/busybox/blobs/sha256:1")
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

func TestAFaultHitsAsOftenAsItSays(t *testing.T) {
	server := faulty(t, `{"path": "/blobs/", "times": 2, "status": 503, "headers": {"Retry-After": "7"}}`)
	for _, want := range []int{503, 503, 200} {
		response, _, err := get(t, server)
		if err != nil || response.StatusCode != want {
			t.Fatalf("want %d, got %v, %v", want, response, err)
		}
		if want == 503 && response.Header.Get("Retry-After") != "7" {
			t.Errorf("headers %v", response.Header)
		}
	}
}

func TestAFaultWithoutEndHitsUntilItIsRemoved(t *testing.T) {
	faults := &faults{}
	id, err := faults.add(strings.NewReader(`{"times": 0, "close": true}`))
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	for range 3 {
		if faults.take(targetRegistry, request) == nil {
			t.Fatal("the fault is gone")
		}
	}
	if faults.take(targetToken, request) != nil {
		t.Error("the fault hits another target")
	}
	if !faults.remove(id) || faults.take(targetRegistry, request) != nil {
		t.Error("the fault is still there")
	}
}

func TestAClosingFaultGivesNoAnswer(t *testing.T) {
	if response, _, err := get(t, faulty(t, `{"close": true}`)); err == nil {
		t.Errorf("an answer: %v", response.Status)
	}
}

func TestATruncatedBodyAnnouncesAllAndEndsPartWay(t *testing.T) {
	response, body, err := get(t, faulty(t, `{"truncateBody": 3}`))
	if err != io.ErrUnexpectedEOF || body != "con" || response.ContentLength != 7 {
		t.Errorf("%q, %v", body, err)
	}
}

func TestACorruptedBodyKeepsItsLength(t *testing.T) {
	_, body, err := get(t, faulty(t, `{"corruptBody": true}`))
	if err != nil || len(body) != 7 || body == "content" {
		t.Errorf("%q, %v", body, err)
	}
}

func TestNonsenseIsNoFault(t *testing.T) {
	for _, nonsense := range []string{`{"path": "("}`, `{"target": "api"}`, `{"status": 1}`, `{"unknown": 1}`} {
		if _, err := (&faults{}).add(strings.NewReader(nonsense)); err == nil {
			t.Errorf("taken: %s", nonsense)
		}
	}
}

func TestRequestsAreCountedByWhatTheyAreFor(t *testing.T) {
	for _, test := range []struct{ method, path, want string }{
		{"GET", "/v2/", "GET base"},
		{"HEAD", "/v2/library/busybox/manifests/latest", "HEAD manifest"},
		{"GET", "/v2/library/busybox/blobs/sha256:1", "GET blob"},
		{"POST", "/v2/library/busybox/blobs/uploads/", "POST upload"},
		{"GET", "/v2/library/busybox/tags/list", "GET tags"},
		{"GET", "/v2/my/manifests/tags/list", "GET tags"},
		{"GET", "/token", "GET token"},
		{"GET", "/", "other"},
	} {
		if got := kind(test.method, test.path); got != test.want {
			t.Errorf("%s %s: %s, want %s", test.method, test.path, got, test.want)
		}
	}
}
