package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// outside stands for what the manifests of the requirements name on the
// Internet: a Git host, a registry, a chart repository and an S3 service, real
// ones behind one address with TLS. All but the charts ask for a login.
type outside struct {
	*testenv.Site
	registry *testenv.Registry
	bucket   *s3mem.Backend
	charts   map[string][]byte // by path
}

// The logins that it accepts.
const (
	outsideUser     = "your-org"
	outsidePassword = "correct horse"
	outsideKey      = "AKIAEXAMPLE"
)

func openOutside(ctx context.Context, git *testenv.GitServer) (*outside, error) {
	o := &outside{registry: testenv.StartRegistry(), bucket: s3mem.New(), charts: map[string][]byte{}}
	gitHost, err := url.Parse(git.URL)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/v2/", o.login(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: o.registry.Host})
	}}))
	// A Git host has no .git in its addresses.
	mux.Handle("/your-org/{repository}/", o.login(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		name := r.In.PathValue("repository")
		r.Out.URL.Path = strings.Replace(r.In.URL.Path, "/your-org/"+name, "/"+name+".git", 1)
		r.SetURL(gitHost)
	}}))
	mux.HandleFunc("/bitnami/", func(w http.ResponseWriter, r *http.Request) {
		content, found := o.charts[r.URL.Path]
		if !found {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(content)
	})
	buckets := gofakes3.New(o.bucket).Server()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+outsideKey+"/") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>InvalidAccessKeyId</Code></Error>")
			return
		}
		buckets.ServeHTTP(w, r)
	})
	if o.Site, err = testenv.StartSite(ctx, mux); err != nil {
		o.registry.Stop()
		return nil, err
	}
	return o, nil
}

func (o *outside) close() {
	o.Stop()
	o.registry.Stop()
}

// login asks for the user and the password.
func (o *outside) login(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != outsideUser || password != outsidePassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="outside"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// publishChart puts a packaged chart into the chart repository, which has it
// alone.
func (o *outside) publishChart(name, version string, files map[string]string) error {
	content, err := packaged(name, files)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	file := name + "-" + version + ".tgz"
	o.charts["/bitnami/"+file] = content
	o.charts["/bitnami/index.yaml"] = fmt.Appendf(nil, `apiVersion: v1
entries:
  %s:
  - {apiVersion: v2, name: %s, version: %s, digest: %s, urls: [%s]}
`, name, name, version, hex.EncodeToString(sum[:]), file)
	return nil
}

// packaged is a chart as helm package makes it.
func packaged(name string, files map[string]string) ([]byte, error) {
	var buffer bytes.Buffer
	zipper := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(zipper)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: name + "/" + path, Mode: 0o644, Size: int64(len(files[path])), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(archive, files[path]); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := zipper.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// chart is a small chart: a Deployment and a Service of its name.
func chart(name, version, image string) map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n",
		"values.yaml": "replicaCount: 1\nservice: {type: ClusterIP}\nimage: {tag: latest}\n",
		"templates/all.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicaCount }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {containers: [{name: main, image: "` + image + `:{{ .Values.image.tag }}"}]}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  type: {{ .Values.service.type }}
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80}]
`,
	}
}
