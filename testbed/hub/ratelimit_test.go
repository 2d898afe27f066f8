package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	indexOfTwo = `{"manifests":[{"digest":"sha256:1"},{"digest":"sha256:2"}]}`
	image      = `{"layers":[]}`
)

// hub is a limited registry that serves an index of two images, and a clock.
type hub struct {
	t       *testing.T
	now     time.Time
	issuer  *issuer
	limit   *rateLimit
	handler http.Handler
}

func newHub(t *testing.T, limit int) *hub {
	t.Helper()
	h := &hub{t: t, now: time.Unix(1_700_000_000, 0)}
	h.limit = newRateLimit(limit, func() time.Time { return h.now })
	var err error
	if h.issuer, err = newIssuer(users{}); err != nil {
		t.Fatal(err)
	}
	h.handler = h.limit.limit(h.issuer, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/latest"):
			_, _ = io.WriteString(w, indexOfTwo)
		case strings.Contains(r.URL.Path, "/manifests/sha256:"):
			_, _ = io.WriteString(w, image)
		case strings.Contains(r.URL.Path, "/blobs/"):
			_, _ = io.WriteString(w, "layer")
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	return h
}

func (h *hub) call(method, path, user string) *httptest.ResponseRecorder {
	h.t.Helper()
	request := httptest.NewRequest(method, "/v2/library/busybox/"+path, nil)
	if user != "" {
		token, err := h.issuer.sign(user, service, nil, time.Now())
		if err != nil {
			h.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	recorder := httptest.NewRecorder()
	h.handler.ServeHTTP(recorder, request)
	return recorder
}

func (h *hub) expectRemaining(want, after string, answer *httptest.ResponseRecorder) {
	h.t.Helper()
	if got := answer.Header().Get("ratelimit-remaining"); got != want {
		h.t.Errorf("after %s: remaining %q, want %q", after, got, want)
	}
}

func TestAHeadIsFreeAndAGetCounts(t *testing.T) {
	h := newHub(t, 100)
	head := h.call(http.MethodHead, "manifests/sha256:1", "")
	h.expectRemaining("100;w=21600", "HEAD", head)
	if got := head.Header().Get("ratelimit-limit"); got != "100;w=21600" {
		t.Errorf("limit %q", got)
	}
	if got := head.Header().Get("docker-ratelimit-source"); got != "192.0.2.1" {
		t.Errorf("source %q", got)
	}
	h.expectRemaining("99;w=21600", "GET", h.call(http.MethodGet, "manifests/sha256:1", ""))
}

func TestAnIndexCountsOncePerPlatform(t *testing.T) {
	h := newHub(t, 100)
	h.expectRemaining("99;w=21600", "the index", h.call(http.MethodGet, "manifests/latest", ""))
	h.expectRemaining("99;w=21600", "the first platform", h.call(http.MethodGet, "manifests/sha256:1", ""))
	h.expectRemaining("98;w=21600", "the second platform", h.call(http.MethodGet, "manifests/sha256:2", ""))
}

func TestWhatIsNotFoundIsNotCounted(t *testing.T) {
	h := newHub(t, 100)
	h.call(http.MethodGet, "manifests/missing", "")
	h.expectRemaining("100;w=21600", "a 404", h.call(http.MethodHead, "manifests/latest", ""))
}

func TestAUsedUpBudgetRefusesPullsButNoHeadAndNoBlob(t *testing.T) {
	h := newHub(t, 1)
	h.call(http.MethodGet, "manifests/sha256:1", "")
	refused := h.call(http.MethodGet, "manifests/sha256:1", "")
	if refused.Code != http.StatusTooManyRequests || !strings.Contains(refused.Body.String(), `"TOOMANYREQUESTS"`) {
		t.Errorf("GET: status %d: %s", refused.Code, refused.Body)
	}
	head := h.call(http.MethodHead, "manifests/sha256:1", "")
	if head.Code != http.StatusOK {
		t.Errorf("HEAD: status %d", head.Code)
	}
	h.expectRemaining("0;w=21600", "the last pull", head)
	if blob := h.call(http.MethodGet, "blobs/sha256:3", ""); blob.Code != http.StatusOK {
		t.Errorf("blob: status %d", blob.Code)
	}
}

func TestAPullThatHasBegunIsFinished(t *testing.T) {
	h := newHub(t, 1)
	h.call(http.MethodGet, "manifests/latest", "")
	if child := h.call(http.MethodGet, "manifests/sha256:1", ""); child.Code != http.StatusOK {
		t.Errorf("the platform of the pull: status %d", child.Code)
	}
	if other := h.call(http.MethodGet, "manifests/sha256:2", ""); other.Code != http.StatusTooManyRequests {
		t.Errorf("another platform: status %d", other.Code)
	}
}

func TestUsersAndAddressesHaveBudgetsOfTheirOwn(t *testing.T) {
	h := newHub(t, 100)
	h.call(http.MethodGet, "manifests/sha256:1", "")
	user := h.call(http.MethodGet, "manifests/sha256:1", "someone")
	h.expectRemaining("99;w=21600", "one pull each", user)
	if source := user.Header().Get("docker-ratelimit-source"); source == "" || source == "192.0.2.1" {
		t.Errorf("source of a user's pull: %q", source)
	}
}

func TestABudgetIsFullAgainAfterSixHours(t *testing.T) {
	h := newHub(t, 1)
	h.call(http.MethodGet, "manifests/sha256:1", "")
	h.now = h.now.Add(window - time.Second)
	if answer := h.call(http.MethodGet, "manifests/sha256:1", ""); answer.Code != http.StatusTooManyRequests {
		t.Errorf("within the window: status %d", answer.Code)
	}
	h.now = h.now.Add(time.Second)
	if answer := h.call(http.MethodGet, "manifests/sha256:1", ""); answer.Code != http.StatusOK {
		t.Errorf("after the window: status %d", answer.Code)
	}
}

func TestAUserCanHaveALimitAndAWindowOfItsOwn(t *testing.T) {
	h := newHub(t, 100)
	h.limit.setUser("someone", 3, 1, 20*time.Second)
	h.expectRemaining("0;w=20", "the last pull", h.call(http.MethodGet, "manifests/sha256:1", "someone"))
	if refused := h.call(http.MethodGet, "manifests/sha256:1", "someone"); refused.Code != http.StatusTooManyRequests {
		t.Errorf("without pulls: status %d", refused.Code)
	}
	h.expectRemaining("99;w=21600", "another's pull", h.call(http.MethodGet, "manifests/sha256:1", "other"))
	h.now = h.now.Add(20 * time.Second)
	h.expectRemaining("2;w=20", "the window", h.call(http.MethodGet, "manifests/sha256:1", "someone"))
	if limit, remaining := h.limit.left("someone"); limit != 3 || remaining != 2 {
		t.Errorf("left: %d of %d", remaining, limit)
	}
}

func TestTheBudgetCanBeSetAndTakenAway(t *testing.T) {
	h := newHub(t, 100)
	h.call(http.MethodGet, "manifests/sha256:1", "")
	h.limit.set(200, 3)
	h.expectRemaining("3;w=21600", "setting it", h.call(http.MethodHead, "manifests/sha256:1", ""))
	h.expectRemaining("2;w=21600", "a pull of a new source", h.call(http.MethodGet, "manifests/sha256:1", "new"))
	h.limit.set(0, 0)
	unlimited := h.call(http.MethodGet, "manifests/sha256:1", "")
	if unlimited.Code != http.StatusOK {
		t.Errorf("without a limit: status %d", unlimited.Code)
	}
	h.expectRemaining("", "taking the limit away", unlimited)
}
