// Command images builds the images of the local stack and pushes them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const usage = `usage:
  images push --registry HOST:PORT
        push the demo images library/busybox and library/hello, over plain HTTP
  images sandbox --output FILE.tar
        write the image of pod sandboxes, for this machine, as an archive that containerd imports
  images make --registry HOST:PORT --name REPOSITORY:TAG [--platforms ...] [--layers N] [--layer-size BYTES] [--seed S] [--docker]
        push an image of pseudo-random layers, over plain HTTP
  images operator --output DIR --amd64 PROGRAM --arm64 PROGRAM --certificates FILE --licence FILE --version V --revision COMMIT --source URL
        write the operator's own image as an OCI image layout, and print its digests and sizes`

func main() {
	log.SetFlags(0)
	log.SetPrefix("images: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	switch args[0] {
	case "push":
		registry := flags.String("registry", "", "address of the registry")
		_ = flags.Parse(args[1:])
		if err := required(flags, "registry"); err != nil {
			return err
		}
		return pushDemo(ctx, *registry)
	case "sandbox":
		output := flags.String("output", "", "the archive to write")
		_ = flags.Parse(args[1:])
		if err := required(flags, "output"); err != nil {
			return err
		}
		return writeSandbox(ctx, *output)
	case "make":
		var random randomImage
		registry := flags.String("registry", "", "address of the registry")
		name := flags.String("name", "", "repository and tag")
		platforms := flags.String("platforms", "linux/amd64,linux/arm64", "platforms, separated by commas; a single one makes an image without an index")
		flags.IntVar(&random.layers, "layers", 2, "layers of each platform's image")
		flags.Int64Var(&random.layerSize, "layer-size", 1<<20, "bytes of the one file in each layer")
		flags.Uint64Var(&random.seed, "seed", 1, "images of the same seed and shape are the same")
		flags.BoolVar(&random.docker, "docker", false, "Docker's media types instead of OCI's")
		_ = flags.Parse(args[1:])
		if err := required(flags, "registry", "name"); err != nil {
			return err
		}
		for platform := range strings.SplitSeq(*platforms, ",") {
			parsed, err := v1.ParsePlatform(platform)
			if err != nil {
				return fmt.Errorf("--platforms: %w", err)
			}
			random.platforms = append(random.platforms, *parsed)
		}
		return pushRandom(ctx, *registry, *name, random)
	case "operator":
		var of operatorImage
		output := flags.String("output", "", "the folder to write, which must be empty")
		amd64 := flags.String("amd64", "", "the program for linux/amd64")
		arm64 := flags.String("arm64", "", "the program for linux/arm64")
		flags.StringVar(&of.certificates, "certificates", "", "the certificates that the program trusts, PEM")
		flags.StringVar(&of.licence, "licence", "", "the licence")
		flags.StringVar(&of.version, "version", "", "the version")
		flags.StringVar(&of.revision, "revision", "", "the commit")
		flags.StringVar(&of.source, "source", "", "where the source is")
		_ = flags.Parse(args[1:])
		if err := required(flags, "output", "certificates", "licence", "version", "revision", "source"); err != nil {
			return err
		}
		var err error
		if of.created, err = sourceDate(); err != nil {
			return err
		}
		programs, platforms := map[string]string{"amd64": *amd64, "arm64": *arm64}, []v1.Platform(nil)
		for _, architecture := range []string{"amd64", "arm64"} {
			if programs[architecture] != "" {
				platforms = append(platforms, v1.Platform{OS: "linux", Architecture: architecture})
			}
		}
		if len(platforms) == 0 {
			return errors.New("--amd64 or --arm64 is required")
		}
		return writeOperator(*output, of, programs, platforms)
	default:
		return fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
}

func required(flags *flag.FlagSet, names ...string) error {
	for _, name := range names {
		if flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("--%s is required", name)
		}
	}
	return nil
}
