package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// service is the name that Docker Hub's registry has at its token server.
	service    = "registry.docker.io"
	issuerName = "auth.docker.io"
	// privatePrefix starts the names of repositories that only users may pull.
	privatePrefix = "private/"
	// lifetime of a token, as Docker Hub's.
	lifetime = 5 * time.Minute
)

// issuer is the token server.
// See https://distribution.github.io/distribution/spec/auth/token/ and .../auth/oauth/
type issuer struct {
	mu     sync.Mutex
	users  users
	key    jose.JSONWebKey
	signer jose.Signer
}

// newIssuer makes a token server with a key of its own.
func newIssuer(users users) (*issuer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the token key: %w", err)
	}
	key := jose.JSONWebKey{Key: private, KeyID: "hub", Algorithm: string(jose.ES256), Use: "sig"}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("make the token signer: %w", err)
	}
	return &issuer{users: users, key: key, signer: signer}, nil
}

// keySet gives the public key that verifies the tokens.
func (i *issuer) keySet() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.key.Public()}}
}

// subject gives the user that a request's token was issued to, empty for an anonymous or a foreign one.
func (i *issuer) subject(r *http.Request) string {
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return ""
	}
	var claims jwt.Claims
	if err := parsed.Claims(i.key.Public().Key, &claims); err != nil {
		return ""
	}
	return claims.Subject
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/token" {
		http.NotFound(w, r)
		return
	}
	var name, password string
	var credentials bool
	switch r.Method {
	case http.MethodGet:
		name, password, credentials = r.BasicAuth()
	case http.MethodPost:
		if r.FormValue("grant_type") != "password" {
			refuse(w, http.StatusBadRequest, "unsupported grant type")
			return
		}
		name, password, credentials = r.FormValue("username"), r.FormValue("password"), true
	default:
		refuse(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	if credentials && !i.knows(name, password) {
		refuse(w, http.StatusUnauthorized, "incorrect username or password")
		return
	}
	_ = r.ParseForm()
	if r.Form.Get("service") == "" {
		refuse(w, http.StatusBadRequest, "service is required")
		return
	}
	now := time.Now()
	signed, err := i.sign(name, r.Form.Get("service"), granted(name, r.Form["scope"]), now)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "signing failed")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"token":        signed,
		"access_token": signed,
		"expires_in":   int(lifetime.Seconds()),
		"issued_at":    now.UTC().Format(time.RFC3339),
	})
}

func (i *issuer) knows(name, password string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	known, found := i.users[name]
	return found && subtle.ConstantTimeCompare([]byte(known), []byte(password)) == 1
}

// add makes a user.
func (i *issuer) add(name, password string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.users[name] = password
}

func (i *issuer) sign(subject, audience string, access []*token.ResourceActions, now time.Time) (string, error) {
	claims := token.ClaimSet{
		Issuer:     issuerName,
		Subject:    subject,
		Audience:   token.AudienceList{audience},
		Expiration: now.Add(lifetime).Unix(),
		NotBefore:  now.Add(-time.Second).Unix(),
		IssuedAt:   now.Unix(),
		JWTID:      rand.Text(),
		Access:     access,
	}
	return jwt.Signed(i.signer).Claims(claims).Serialize()
}

// granted gives what a user (empty: everyone) gets of the scopes asked for: pulling, and nothing of private
// repositories without a user. What is not granted is left out, and the registry refuses it then.
func granted(user string, scopes []string) []*token.ResourceActions {
	access := []*token.ResourceActions{}
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		// repository:<name>:<actions>; a name has no colon of its own.
		parts := strings.Split(scope, ":")
		if len(parts) != 3 || parts[0] != "repository" {
			continue
		}
		name, actions := parts[1], strings.Split(parts[2], ",")
		private := strings.HasPrefix(name, privatePrefix)
		if slices.Contains(actions, "pull") && (user != "" || !private) {
			access = append(access, &token.ResourceActions{Type: "repository", Name: name, Actions: []string{"pull"}})
		}
	}
	return access
}

func refuse(w http.ResponseWriter, status int, details string) {
	writeJSON(w, status, map[string]string{"details": details})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
