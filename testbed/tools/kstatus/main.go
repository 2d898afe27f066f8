// Command kstatus tells how objects are doing by the code that GitOps tools judge them with: kstatus itself, Flux's fork of
// it, Flux with the health check expressions of a Kustomization, and Argo CD with a health check in Lua.
//
//	kstatus -flux kustomization.yaml -lua health.lua < objects.json
//
// It reads a stream of objects as JSON, and writes a line of JSON for each.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	kustomizations := flag.String("flux", "", "file with a Flux Kustomization that has healthCheckExprs")
	health := flag.String("lua", "", "file with a health check of Argo CD")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *kustomizations, *health); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func run(input io.Reader, output io.Writer, kustomizations, health string) error {
	judges, err := newJudges(kustomizations, health)
	if err != nil {
		return err
	}
	out := json.NewEncoder(output)
	objects := json.NewDecoder(input)
	for {
		var raw json.RawMessage
		if err := objects.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// Kubernetes' own decoder: whole numbers must not become floating-point ones.
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(raw); err != nil {
			return err
		}
		verdict, err := judges.judge(&object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if err := out.Encode(verdict); err != nil {
			return err
		}
	}
}
