package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// stand is a registry with its token server, as a client meets it.
type stand struct {
	t        *testing.T
	issuer   *issuer
	registry http.Handler
}

func newStand(t *testing.T) *stand {
	t.Helper()
	issuer, err := newIssuer(users{"someone": "right"})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := newRegistry(t.Context(), t.TempDir(), issuer, "https://auth.test/token")
	if err != nil {
		t.Fatal(err)
	}
	return &stand{t, issuer, registry}
}

// ask asks the token server for a token to pull, and gives its answer's status and the token.
func (s *stand) ask(repository, actions, user, password string) (int, string) {
	s.t.Helper()
	query := url.Values{"service": {service}, "scope": {"repository:" + repository + ":" + actions}}
	request := httptest.NewRequest(http.MethodGet, "/token?"+query.Encode(), nil)
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	recorder := httptest.NewRecorder()
	s.issuer.ServeHTTP(recorder, request)
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		s.t.Fatalf("answer of the token server: %v", err)
	}
	return recorder.Code, answer.Token
}

// call gives the registry's answer to a request with a token.
func (s *stand) call(method, path, token string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, nil)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	recorder := httptest.NewRecorder()
	s.registry.ServeHTTP(recorder, request)
	return recorder
}

func TestTheRegistrySendsClientsToTheTokenServer(t *testing.T) {
	answer := newStand(t).call(http.MethodGet, "/v2/library/busybox/manifests/latest", "")
	if answer.Code != http.StatusUnauthorized {
		t.Fatalf("status %d", answer.Code)
	}
	want := `Bearer realm="https://auth.test/token",service="registry.docker.io",scope="repository:library/busybox:pull"`
	if got := answer.Header().Get("WWW-Authenticate"); got != want {
		t.Errorf("challenge %s, want %s", got, want)
	}
}

func TestEveryoneMayPullPublicRepositories(t *testing.T) {
	stand := newStand(t)
	_, token := stand.ask("library/busybox", "pull", "", "")
	// The registry lets the request in, and then knows no such image.
	if answer := stand.call(http.MethodGet, "/v2/library/busybox/manifests/latest", token); answer.Code != http.StatusNotFound {
		t.Errorf("status %d: %s", answer.Code, answer.Body)
	}
}

func TestATokenIsGoodForItsOwnRepositoryOnly(t *testing.T) {
	stand := newStand(t)
	_, token := stand.ask("library/busybox", "pull", "", "")
	answer := stand.call(http.MethodGet, "/v2/library/other/manifests/latest", token)
	if answer.Code != http.StatusUnauthorized || !strings.Contains(answer.Header().Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("status %d, %s", answer.Code, answer.Header().Get("WWW-Authenticate"))
	}
}

func TestPrivateRepositoriesNeedAUser(t *testing.T) {
	stand := newStand(t)
	const path = "/v2/private/app/manifests/latest"
	_, anonymous := stand.ask("private/app", "pull", "", "")
	if answer := stand.call(http.MethodGet, path, anonymous); answer.Code != http.StatusUnauthorized {
		t.Errorf("anonymous: status %d", answer.Code)
	}
	_, user := stand.ask("private/app", "pull", "someone", "right")
	if answer := stand.call(http.MethodGet, path, user); answer.Code != http.StatusNotFound {
		t.Errorf("user: status %d", answer.Code)
	}
}

func TestAWrongPasswordGetsNoToken(t *testing.T) {
	status, token := newStand(t).ask("library/busybox", "pull", "someone", "wrong")
	if status != http.StatusUnauthorized || token != "" {
		t.Errorf("status %d, token %q", status, token)
	}
}

func TestNobodyMayPush(t *testing.T) {
	stand := newStand(t)
	_, token := stand.ask("library/busybox", "pull,push", "someone", "right")
	if answer := stand.call(http.MethodPost, "/v2/library/busybox/blobs/uploads/", token); answer.Code != http.StatusUnauthorized {
		t.Errorf("status %d", answer.Code)
	}
}

func TestATokenOfAnotherIssuerIsRefused(t *testing.T) {
	stand, other := newStand(t), newStand(t)
	_, token := other.ask("library/busybox", "pull", "", "")
	if answer := stand.call(http.MethodGet, "/v2/library/busybox/manifests/latest", token); answer.Code != http.StatusUnauthorized {
		t.Errorf("status %d", answer.Code)
	}
}

func TestTheTokenServerTakesAPasswordGrant(t *testing.T) {
	for password, want := range map[string]int{"right": http.StatusOK, "wrong": http.StatusUnauthorized} {
		form := url.Values{
			"grant_type": {"password"}, "username": {"someone"}, "password": {password},
			"service": {service}, "scope": {"repository:private/app:pull"},
		}
		request := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		recorder := httptest.NewRecorder()
		newStand(t).issuer.ServeHTTP(recorder, request)
		if recorder.Code != want {
			t.Errorf("password %q: status %d, want %d", password, recorder.Code, want)
		}
	}
}
