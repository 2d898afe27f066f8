// Command keyring looks up credentials for images as the kubelet does, in pull secrets that it reads as JSON.
//
//	kubectl get secret NAME --output json | keyring IMAGE...
//
// It prints a line of JSON for each image: the credentials that the kubelet would try, in its order. Credentials of the
// machine, such as a docker config in the home directory, are left out.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/credentialprovider/secrets"
	"k8s.io/kubernetes/pkg/util/parsers"
)

// found is what the kubelet would try for one image.
type found struct {
	Image       string       `json:"image"`
	Credentials []credential `json:"credentials"`
}

type credential struct {
	Username string `json:"username"`
	Password string `json:"password"`
	// Secret is where they come from: the namespace and the name.
	Secret string `json:"secret"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("keyring: ")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: keyring IMAGE... < secret.json") }
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(os.Stdin, os.Stdout, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(in io.Reader, out io.Writer, images []string) error {
	pullSecrets, err := read(in)
	if err != nil {
		return err
	}
	keyring, err := secrets.MakeDockerKeyring(pullSecrets, &credentialprovider.BasicDockerKeyring{})
	if err != nil {
		return fmt.Errorf("make a keyring of the secrets: %w", err)
	}
	answers := json.NewEncoder(out)
	for _, image := range images {
		answer, err := lookUp(keyring, image)
		if err != nil {
			return err
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}

// lookUp does what the kubelet's image manager does before a pull.
func lookUp(keyring credentialprovider.DockerKeyring, image string) (found, error) {
	answer := found{Image: image, Credentials: []credential{}}
	repository, _, _, err := parsers.ParseImageName(image)
	if err != nil {
		return answer, err
	}
	configs, _ := keyring.Lookup(repository)
	for _, config := range configs {
		usable := credential{Username: config.Username, Password: config.Password}
		if config.Source != nil && config.Source.Secret != nil {
			usable.Secret = config.Source.Secret.Namespace + "/" + config.Source.Secret.Name
		}
		answer.Credentials = append(answer.Credentials, usable)
	}
	return answer, nil
}

// read takes one Secret, or a List of them.
func read(in io.Reader) ([]corev1.Secret, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	var list corev1.SecretList
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("read the secrets: %w", err)
	}
	if list.Kind == "List" || list.Kind == "SecretList" {
		return list.Items, nil
	}
	var secret corev1.Secret
	if err := json.Unmarshal(text, &secret); err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	return []corev1.Secret{secret}, nil
}
