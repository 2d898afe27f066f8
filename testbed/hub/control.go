package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// newControl gives the control API: what tests ask and tell the stand-in.
func newControl(calls *calls, faults *faults, limit *rateLimit, issuer *issuer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	})
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"registry": calls.snapshot()})
	})
	mux.HandleFunc("DELETE /calls", func(w http.ResponseWriter, _ *http.Request) {
		calls.reset()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		id, err := faults.add(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, http.StatusOK, map[string]int{"id": id})
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		faults.clear()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /faults/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil || !faults.remove(id) {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /rate-limit", func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Limit         int    `json:"limit"`
			Remaining     *int   `json:"remaining"`
			User          string `json:"user"`
			WindowSeconds int    `json:"windowSeconds"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Limit < 0 || asked.WindowSeconds < 0 ||
			(asked.User == "" && asked.WindowSeconds != 0) {
			http.Error(w, "needs a limit, 0 for none, and may have what remains of it, and the user whose it is with a window", http.StatusBadRequest)
			return
		}
		if asked.Remaining == nil {
			asked.Remaining = &asked.Limit
		}
		if asked.User == "" {
			limit.set(asked.Limit, *asked.Remaining)
		} else {
			its := window
			if asked.WindowSeconds != 0 {
				its = time.Duration(asked.WindowSeconds) * time.Second
			}
			limit.setUser(asked.User, asked.Limit, *asked.Remaining, its)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /rate-limit/{user}", func(w http.ResponseWriter, r *http.Request) {
		pulls, remaining := limit.left(r.PathValue("user"))
		writeJSON(w, http.StatusOK, map[string]int{"limit": pulls, "remaining": remaining})
	})
	mux.HandleFunc("POST /users", func(w http.ResponseWriter, r *http.Request) {
		var added struct {
			Name     string `json:"name"`
			Password string `json:"password"`
		}
		if err := json.NewDecoder(r.Body).Decode(&added); err != nil || added.Name == "" || added.Password == "" {
			http.Error(w, "needs a name and a password", http.StatusBadRequest)
			return
		}
		issuer.add(added.Name, added.Password)
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
