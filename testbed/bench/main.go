// Command bench-copy measures how fast images get from one registry into another: our copy engine, and others', on the
// same work. See docs/performance/copy.md.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one execution of the benchmark.
type bench struct {
	dir, bin, ours string
	parallel       int
	scenarios      []string
	client         *http.Client
	source, target *peer
	moved          []byte
	first          []byte
	floorFiles     map[string][]string
	results        map[string]map[string][]measure
}

// peer is a registry that runs as a process of its own.
type peer struct {
	addresses
	process *os.Process
}

func main() {
	log.SetFlags(0)
	if len(os.Args) == 6 && os.Args[1] == "registry" {
		roundTrip, err := time.ParseDuration(os.Args[5])
		if err == nil {
			err = runRegistry(os.Args[2], os.Args[3], os.Args[4], roundTrip)
		}
		log.Fatal(err)
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	rounds := flag.Int("rounds", 5, "how often everything is measured")
	scenarios := flag.String("scenarios", "cold,warm,moved,latency,large", "what is measured: cold, warm (after cold), moved (after warm), latency, large")
	names := flag.String("tools", "ours,regsync,crane,skopeo", "what is compared")
	large := flag.Int64("large-mib", 2048, "the size of the large layer")
	roundTrip := flag.Duration("round-trip", 20*time.Millisecond, "the latency that is added at both registries")
	parallel := flag.Int("parallel", 4, "how much the others do at once: regsync's `parallel`, and processes of crane and skopeo")
	ours := flag.String("ours", "target/release/examples/mirror", "our program")
	bin := flag.String("bin", "testbed/bin", "where the others' programs are")
	out := flag.String("out", "target/bench/bench-copy.json", "where the medians go; the whole goes beside it")
	flag.Parse()

	parent := os.TempDir()
	if _, err := os.Stat("/dev/shm"); err == nil {
		// Memory: it is registries and tools that are measured, not disks.
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "bench-copy-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, bin: *bin, ours: *ours, parallel: *parallel, scenarios: strings.Split(*scenarios, ",")}
	b.results = map[string]map[string][]measure{}
	if b.client, err = b.certificates(); err != nil {
		return err
	}
	for _, side := range []struct {
		name string
		at   **peer
	}{{"source", &b.source}, {"target", &b.target}} {
		if *side.at, err = b.start(side.name, *roundTrip); err != nil {
			return err
		}
		defer func(p *peer) { _ = p.process.Kill(); _, _ = p.process.Wait() }(*side.at)
	}
	if !slices.Contains(b.scenarios, "large") {
		*large = 0
	}
	if err := b.prepare(*large); err != nil {
		return err
	}
	var chosen []tool
	for _, tool := range tools {
		if slices.Contains(strings.Split(*names, ","), tool.name) {
			chosen = append(chosen, tool)
		}
	}
	for round := range *rounds {
		order := slices.Clone(chosen)
		mathrand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		log.Printf("round %d of %d", round+1, *rounds)
		for _, tool := range order {
			if err := b.measure(tool); err != nil {
				return err
			}
		}
		if err := b.measureFloor(); err != nil {
			return err
		}
		// What was measured so far is there, however it ends.
		if err := b.write(*out, chosen); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) wants(scenario string) bool { return slices.Contains(b.scenarios, scenario) }

// measure runs one tool through all scenarios.
func (b *bench) measure(t tool) error {
	jobs := allJobs()
	if b.wants("cold") {
		if err := b.reset(); err != nil {
			return err
		}
		if err := b.once(t, "cold", b.source.Direct, b.target.Direct, jobs); err != nil {
			return err
		}
		if b.wants("warm") {
			if err := b.once(t, "warm", b.source.Direct, b.target.Direct, jobs); err != nil {
				return err
			}
		}
		if b.wants("moved") {
			seed := seeder{b.client, b.source.Direct}
			if err := seed.manifest(repositoryName(0), tagName(0), indexType, b.moved); err != nil {
				return err
			}
			if err := b.once(t, "moved", b.source.Direct, b.target.Direct, jobs); err != nil {
				return err
			}
			if err := seed.manifest(repositoryName(0), tagName(0), indexType, b.first); err != nil {
				return err
			}
		}
	}
	if b.wants("latency") {
		if err := b.reset(); err != nil {
			return err
		}
		if err := b.once(t, "latency", b.source.Delayed, b.target.Delayed, jobs); err != nil {
			return err
		}
	}
	if b.wants("large") {
		if err := b.reset(); err != nil {
			return err
		}
		if err := b.once(t, "large", b.source.Direct, b.target.Direct, largeJob); err != nil {
			return err
		}
	}
	return nil
}

// once runs a tool once, and checks that what is in the destination then is what is in the source.
func (b *bench) once(t tool, scenario, source, target string, jobs []job) error {
	for _, p := range []*peer{b.source, b.target} {
		if _, err := b.counts(p); err != nil {
			return err
		}
	}
	cmd, err := t.command(b, source, target, jobs)
	if err != nil {
		return err
	}
	result, err := b.run(cmd)
	if err != nil {
		return err
	}
	if result.Source, err = b.counts(b.source); err != nil {
		return err
	}
	if result.Destination, err = b.counts(b.target); err != nil {
		return err
	}
	for _, job := range jobs {
		for _, tag := range job.tags {
			from, err := (&seeder{b.client, b.source.Direct}).tag(job.repository, tag)
			if err != nil {
				return err
			}
			to, err := (&seeder{b.client, b.target.Direct}).tag(job.repository, tag)
			if err != nil {
				return err
			}
			if from == "" || from != to {
				return fmt.Errorf("%s %s: %s:%s is %q in the source and %q in the destination", t.name, scenario, job.repository, tag, from, to)
			}
		}
	}
	b.keep(scenario, t.name, result)
	log.Printf("  %-8s %-8s %7.2f s %7.2f CPU s %7.1f MiB", scenario, t.name, result.WallSeconds, result.CPUSeconds, result.RSSMiB)
	return nil
}

func (b *bench) keep(scenario, name string, result measure) {
	if b.results[scenario] == nil {
		b.results[scenario] = map[string][]measure{}
	}
	b.results[scenario][name] = append(b.results[scenario][name], result)
}

func (b *bench) measureFloor() error {
	for _, scenario := range b.scenarios {
		result, err := b.floor(b.floorFiles[scenario])
		if err != nil {
			return err
		}
		b.keep(scenario, "floor", result)
	}
	return nil
}

// prepare puts the images into the source, and finds the files that the floor reads.
func (b *bench) prepare(large int64) error {
	log.Print("putting the images into the source")
	seed := seeder{b.client, b.source.Direct}
	moved, movedBlobs, err := seed.seed(large)
	if err != nil {
		return err
	}
	b.moved = moved
	if b.first, _, err = seed.image(0, "image-0-0"); err != nil {
		return err
	}
	if err := os.WriteFile(b.file("policy.json"), []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(b.file("auth.json"), []byte(`{"auths":{}}`), 0o600); err != nil {
		return err
	}
	b.floorFiles = map[string][]string{"warm": {}}
	blobs, err := filepath.Glob(b.file("source/*/docker/registry/v2/blobs/sha256/*/*/data"))
	if err != nil {
		return err
	}
	for _, path := range blobs {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		digest := "sha256:" + filepath.Base(filepath.Dir(path))
		switch {
		case info.Size() == large*mib:
			b.floorFiles["large"] = []string{path}
		case slices.Contains(movedBlobs, digest):
			b.floorFiles["moved"] = append(b.floorFiles["moved"], path)
		default:
			b.floorFiles["cold"] = append(b.floorFiles["cold"], path)
		}
	}
	b.floorFiles["latency"] = b.floorFiles["cold"]
	return nil
}

func (b *bench) reset() error {
	answer, err := http.Post("http://"+b.target.Control+"/reset", "", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the destination can't be emptied: %s", answer.Status)
	}
	return nil
}

func (b *bench) counts(p *peer) (*counts, error) {
	answer, err := http.Get("http://" + p.Control + "/counts")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var seen counts
	return &seen, json.NewDecoder(answer.Body).Decode(&seen)
}

func (b *bench) start(name string, roundTrip time.Duration) (*peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "registry", b.file(name), b.file("server.pem"), b.file("server.key"), roundTrip.String())
	cmd.Stderr = os.Stderr
	told, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(told).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the %s registry does not start: %w", name, err)
	}
	p := &peer{process: cmd.Process}
	return p, json.Unmarshal(line, &p.addresses)
}

// certificates makes an authority and a server's certificate, and a client that trusts it.
func (b *bench) certificates() (*http.Client, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench-copy"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, err
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, file := range []struct {
		name, kind string
		bytes      []byte
	}{{"ca.pem", "CERTIFICATE", authorityDER}, {"server.pem", "CERTIFICATE", serverDER}, {"server.key", "PRIVATE KEY", keyDER}} {
		text := pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.bytes})
		if err := os.WriteFile(b.file(file.name), text, 0o600); err != nil {
			return nil, err
		}
		if file.name == "ca.pem" {
			pool.AppendCertsFromPEM(text)
		}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}, nil
}

// write writes the medians as one flat object, and all that was measured beside it, and shows a table.
func (b *bench) write(path string, chosen []tool) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	flat := map[string]float64{}
	var table strings.Builder
	for _, scenario := range b.scenarios {
		fmt.Fprintf(&table, "\n%-9s %-8s %22s %12s %10s %9s %10s %10s\n", scenario, "", "wall s (min-max)", "CPU s", "RSS MiB", "requests", "MiB read", "MiB sent")
		for _, name := range append([]string{"floor"}, names(chosen)...) {
			runs := b.results[scenario][name]
			if len(runs) == 0 {
				continue
			}
			walls := column(runs, func(m measure) float64 { return m.WallSeconds })
			cpu := median(column(runs, func(m measure) float64 { return m.CPUSeconds }))
			rss := median(column(runs, func(m measure) float64 { return m.RSSMiB }))
			flat[scenario+"_wall_s_"+name] = median(walls)
			flat[scenario+"_cpu_s_"+name] = cpu
			flat[scenario+"_rss_mib_"+name] = rss
			var requests, read, sent float64
			if last := runs[len(runs)-1]; last.Source != nil {
				for _, side := range []*counts{last.Source, last.Destination} {
					for _, count := range side.Requests {
						requests += float64(count)
					}
				}
				read, sent = float64(last.Source.BytesOut)/mib, float64(last.Destination.BytesIn)/mib
				flat[scenario+"_requests_"+name] = requests
				flat[scenario+"_read_mib_"+name], flat[scenario+"_sent_mib_"+name] = read, sent
			}
			fmt.Fprintf(&table, "%-9s %-8s %9.2f (%5.2f-%5.2f) %12.2f %10.1f %9.0f %10.1f %10.1f\n", "", name, median(walls), slices.Min(walls), slices.Max(walls), cpu, rss, requests, read, sent)
		}
	}
	fmt.Print(table.String())
	for name, content := range map[string]any{path: flat, strings.TrimSuffix(path, ".json") + "-runs.json": b.results} {
		text, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func names(chosen []tool) []string {
	var all []string
	for _, tool := range chosen {
		all = append(all, tool.name)
	}
	return all
}

func column(runs []measure, value func(measure) float64) []float64 {
	var values []float64
	for _, run := range runs {
		values = append(values, value(run))
	}
	return values
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
