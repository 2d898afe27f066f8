package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// newControl gives the control API: what tests ask and tell the stand-in.
func newControl(calls *calls, faults *faults, limit *rateLimit) http.Handler {
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
			Limit     int  `json:"limit"`
			Remaining *int `json:"remaining"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Limit < 0 {
			http.Error(w, "needs a limit, 0 for none, and may have what remains of it", http.StatusBadRequest)
			return
		}
		if asked.Remaining == nil {
			asked.Remaining = &asked.Limit
		}
		limit.set(asked.Limit, *asked.Remaining)
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
