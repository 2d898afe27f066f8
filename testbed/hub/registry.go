package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/token" // the access controller of newRegistry
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the storage of both registries
)

// newRegistry gives the registry that asks for tokens of the issuer.
func newRegistry(ctx context.Context, storage string, issuer *issuer, realm string) (http.Handler, error) {
	config := newConfiguration(storage)
	keys, err := os.MkdirTemp("", "hub-")
	if err != nil {
		return nil, fmt.Errorf("directory for the token key: %w", err)
	}
	// Distribution reads the file once, while the registry is made.
	defer os.RemoveAll(keys)
	jwks, err := json.Marshal(issuer.keySet())
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	file := filepath.Join(keys, "jwks.json")
	if err := os.WriteFile(file, jwks, 0o600); err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	config.Auth = configuration.Auth{"token": configuration.Parameters{
		"realm":   realm,
		"service": service,
		"issuer":  issuerName,
		"jwks":    file,
	}}
	return handlers.NewApp(ctx, config), nil
}

// newOpenRegistry gives a registry over the same storage that lets everyone push and delete.
func newOpenRegistry(ctx context.Context, storage string) http.Handler {
	return handlers.NewApp(ctx, newConfiguration(storage))
}

func newConfiguration(storage string) *configuration.Configuration {
	config := &configuration.Configuration{
		Version: configuration.CurrentVersion,
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": storage},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		// Tests push incomplete indexes and foreign layers as well.
		Validation: configuration.Validation{Disabled: true},
	}
	config.HTTP.Secret = rand.Text()
	return config
}
