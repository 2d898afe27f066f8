package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// job is an image to copy: a repository, which is called the same in both registries, and its tags.
type job struct {
	repository string
	tags       []string
}

func allJobs() []job {
	var jobs []job
	for r := range repositories {
		next := job{repository: repositoryName(r)}
		for t := range tagsPerRepository {
			next.tags = append(next.tags, tagName(t))
		}
		jobs = append(jobs, next)
	}
	return jobs
}

var largeJob = []job{{repository: "large/image", tags: []string{"v1"}}}

// tool is one of those that are compared.
type tool struct {
	name string
	// command gives the command that copies, with its standard input.
	command func(b *bench, source, destination string, jobs []job) (*exec.Cmd, error)
}

// Each peer gets what its own documentation proposes for many images, with the concurrency that was best here.
var tools = []tool{
	{"ours", func(b *bench, source, destination string, jobs []job) (*exec.Cmd, error) {
		cmd := exec.Command(b.ours, "--ca-bundle", b.file("ca.pem"))
		cmd.Stdin = lines(jobs, func(image string) string { return source + "/" + image + " " + destination + "/" + image })
		return cmd, nil
	}},
	{"regsync", func(b *bench, source, destination string, jobs []job) (*exec.Cmd, error) {
		var config strings.Builder
		fmt.Fprintf(&config, "version: 1\ndefaults:\n  parallel: %d\nsync:\n", b.parallel)
		for _, job := range jobs {
			fmt.Fprintf(&config, "- {source: %s/%s, target: %s/%s, type: repository}\n", source, job.repository, destination, job.repository)
		}
		path := b.file("regsync.yaml")
		return exec.Command(filepath.Join(b.bin, "regsync"), "once", "-c", path), os.WriteFile(path, []byte(config.String()), 0o600)
	}},
	{"crane", func(b *bench, source, destination string, jobs []job) (*exec.Cmd, error) {
		cmd := xargs(b.parallel, filepath.Join(b.bin, "crane"), "copy", "--all-tags")
		if len(jobs) == 1 {
			cmd = xargs(1, filepath.Join(b.bin, "crane"), "copy", "--all-tags")
		}
		var text bytes.Buffer
		for _, job := range jobs {
			fmt.Fprintf(&text, "%s/%s %s/%s\n", source, job.repository, destination, job.repository)
		}
		cmd.Stdin = &text
		return cmd, nil
	}},
	{"skopeo", func(b *bench, source, destination string, jobs []job) (*exec.Cmd, error) {
		cmd := xargs(b.parallel, filepath.Join(b.bin, "skopeo"), "--policy", b.file("policy.json"), "copy", "--quiet", "--all", "--preserve-digests")
		cmd.Stdin = lines(jobs, func(image string) string {
			return "docker://" + source + "/" + image + " docker://" + destination + "/" + image
		})
		return cmd, nil
	}},
}

func xargs(parallel int, command ...string) *exec.Cmd {
	return exec.Command("xargs", append([]string{"-P", fmt.Sprint(parallel), "-L", "1"}, command...)...)
}

func lines(jobs []job, line func(image string) string) io.Reader {
	var text bytes.Buffer
	for _, job := range jobs {
		for _, tag := range job.tags {
			text.WriteString(line(job.repository+":"+tag) + "\n")
		}
	}
	return &text
}

// measure is what one run took.
type measure struct {
	WallSeconds float64 `json:"wallSeconds"`
	CPUSeconds  float64 `json:"cpuSeconds"`
	RSSMiB      float64 `json:"rssMiB"`
	Source      *counts `json:"source,omitempty"`
	Destination *counts `json:"destination,omitempty"`
}

// run runs a command to its end. Its processor time is that of all processes it waited for, its memory that of the largest.
func (b *bench) run(cmd *exec.Cmd) (measure, error) {
	var said bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &said
	}
	cmd.Stderr = &said
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+b.file("ca.pem"), "HOME="+b.dir, "DOCKER_CONFIG="+b.dir, "REGISTRY_AUTH_FILE="+b.file("auth.json"))
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start).Seconds()
	if err != nil {
		text := said.String()
		return measure{}, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, text[max(0, len(text)-2000):])
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return measure{WallSeconds: wall, CPUSeconds: cpu.Seconds(), RSSMiB: float64(usage.Maxrss) / 1024}, nil
}

// floor measures one process that hashes the bytes of files and writes them into a pipe.
func (b *bench) floor(files []string) (measure, error) {
	cmd := exec.Command(b.ours, "--floor")
	lines := ""
	for _, file := range files {
		lines += file + "\n"
	}
	cmd.Stdin = strings.NewReader(lines)
	reader, writer, err := os.Pipe()
	if err != nil {
		return measure{}, err
	}
	defer reader.Close()
	go func() { _, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{reader}, make([]byte, 256<<10)) }()
	cmd.Stdout = writer
	result, err := b.run(cmd)
	_ = writer.Close()
	return result, err
}
