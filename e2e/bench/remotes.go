package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/headwater-dev/headwater/internal/testenv"
)

const (
	// polledBytes is the size of what is in each artifact; it does not compress
	// to less than half of it.
	polledBytes = 2_000_000
	// indexVersions is how many versions of other charts are in the index.
	indexVersions = 1_000

	bucketName = "bench"
	chartName  = "bench"
)

// remotes are a server of each kind of source. What is asked of them passes a
// counter.
type remotes struct {
	git, oci, s3, helm string // URLs
	count              counter
	cleanup            []func()
}

// counter counts requests by method.
type counter struct {
	mu       sync.Mutex
	requests map[string]int
}

func (c *counter) add(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.requests = map[string]int{}
	}
	c.requests[method]++
}

// take returns the counts since it was last called.
func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.requests
	c.requests = nil
	return taken
}

// startRemotes starts the servers with some content.
func startRemotes(ctx context.Context) (*remotes, error) {
	r := &remotes{}
	content := random(polledBytes)
	for _, start := range []func(context.Context, string) error{r.startGit, r.startOCI, r.startS3, r.startHelm} {
		if err := start(ctx, content); err != nil {
			r.stop()
			return nil, err
		}
	}
	return r, nil
}

func (r *remotes) stop() {
	for _, stop := range r.cleanup {
		stop()
	}
}

// random is text that does not compress well.
func random(size int) string {
	content := make([]byte, size/2)
	_, _ = rand.Read(content) // never fails
	return hex.EncodeToString(content)
}

// counted serves a handler behind the counter and returns its URL.
func (r *remotes) counted(handler http.Handler) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.count.add(request.Method)
		handler.ServeHTTP(w, request)
	}))
	r.cleanup = append(r.cleanup, server.Close)
	return server.URL
}

// front is a handler that passes everything on to a server.
func front(server string) (http.Handler, error) {
	to, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}, nil
}

func (r *remotes) startGit(ctx context.Context, content string) error {
	server, err := testenv.StartGit(ctx)
	if err != nil {
		return err
	}
	r.cleanup = append(r.cleanup, server.Stop)
	repository, err := server.Repository(ctx, "bench")
	if err != nil {
		return err
	}
	if _, err := repository.Commit(ctx, "Content", map[string]string{"content": content}); err != nil {
		return err
	}
	proxy, err := front(server.URL)
	if err != nil {
		return err
	}
	r.git = r.counted(proxy) + "/bench.git"
	return nil
}

func (r *remotes) startOCI(_ context.Context, content string) error {
	registry := testenv.StartRegistry()
	r.cleanup = append(r.cleanup, registry.Stop)
	if _, err := registry.Push("bench", "latest", map[string]string{"content": content}); err != nil {
		return err
	}
	proxy, err := front("http://" + registry.Host)
	if err != nil {
		return err
	}
	r.oci = "oci://" + strings.TrimPrefix(r.counted(proxy), "http://") + "/bench"
	return nil
}

func (r *remotes) startS3(_ context.Context, content string) error {
	backend := s3mem.New()
	if err := backend.CreateBucket(bucketName); err != nil {
		return err
	}
	when := map[string]string{"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}
	if _, err := backend.PutObject(bucketName, "content", when, strings.NewReader(content), int64(len(content)), nil); err != nil {
		return err
	}
	r.s3 = strings.TrimPrefix(r.counted(gofakes3.New(backend).Server()), "http://")
	return nil
}

func (r *remotes) startHelm(_ context.Context, content string) error {
	packed, err := packChart(content)
	if err != nil {
		return err
	}
	entries := map[string]any{chartName: []any{chartEntry(chartName, "1.0.0")}}
	var others []any
	for i := range indexVersions {
		others = append(others, chartEntry("other", fmt.Sprintf("1.%d.0", i)))
	}
	entries["other"] = others
	index, err := json.Marshal(map[string]any{"apiVersion": "v1", "entries": entries})
	if err != nil {
		return err
	}
	r.helm = r.counted(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body := packed
		if request.URL.Path == "/index.yaml" {
			body = index
		}
		etag := fmt.Sprintf(`"%d"`, len(body))
		w.Header().Set("ETag", etag)
		if request.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(body)
	}))
	return nil
}

func chartEntry(name, version string) map[string]any {
	return map[string]any{
		"apiVersion": "v2", "name": name, "version": version, "created": "2024-01-01T00:00:00Z",
		"description": "A chart of the benchmark", "urls": []string{name + "-" + version + ".tgz"},
	}
}

func packChart(content string) ([]byte, error) {
	var packed bytes.Buffer
	zipper := gzip.NewWriter(&packed)
	tarrer := tar.NewWriter(zipper)
	for _, file := range [][2]string{
		{"Chart.yaml", "apiVersion: v2\nname: " + chartName + "\nversion: 1.0.0\n"}, {"values.yaml", "{}\n"}, {"files/content", content},
	} {
		header := &tar.Header{Name: chartName + "/" + file[0], Mode: 0o644, Size: int64(len(file[1])), Typeflag: tar.TypeReg}
		if err := tarrer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := tarrer.Write([]byte(file[1])); err != nil {
			return nil, err
		}
	}
	if err := tarrer.Close(); err != nil {
		return nil, err
	}
	err := zipper.Close()
	return packed.Bytes(), err
}
