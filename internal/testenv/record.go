package testenv

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// Record is one request that a Proxy saw: who asked what, when, and what came
// of it.
type Record struct {
	// Proxy is the name of the proxy that it came through.
	Proxy string

	// User is whom the credential names: the subject of a ServiceAccount's
	// token, as system:serviceaccount:NAMESPACE:NAME; empty for other
	// credentials. It is proven when Status is not 401.
	User string
	// Impersonated is the user that it acts as, if any.
	Impersonated string
	// PID is the process that owns the connection; 0 when it could not be
	// found. Processes with one kubeconfig are told apart by it.
	PID int
	// UserAgent is what the client calls itself.
	UserAgent string

	// Verb as RBAC has it: get, list, watch, create, update, patch, delete or
	// deletecollection; of a path that is no resource the method in lower case.
	Verb string
	// Path is that of the URL.
	Path string
	// APIGroup, Resource (plural), Subresource, Namespace and Name say what it
	// is about. The name of what is created comes from the body.
	APIGroup, Resource, Subresource, Namespace, Name string
	// Query has the parameters of the URL. Not to be changed.
	Query url.Values
	// FieldManager is that of an apply; clients may set it for other writes.
	FieldManager string
	// DryRun is true when nothing is to be kept.
	DryRun bool
	// Mutating is true for writes that are not dry runs.
	Mutating bool
	// Lease is what a write to a Lease says; nil for deletions, JSON patches
	// and other kinds.
	Lease *coordinationv1.LeaseSpec
	// Labels are those that a write gives a Secret, which say what Helm keeps in
	// it; nil for other kinds. What is in a Secret is not recorded.
	Labels map[string]string

	// Begin is when the request had arrived at the proxy.
	Begin time.Time
	// End is when the API server had answered, or a stream of answers ended, or
	// the client had gone; zero while it goes on. Mutating requests are seen
	// through to their answer even when the client goes. Both times have
	// monotonic readings: those of one process compare across proxies.
	End time.Time
	// Status is that of the answer; 0 when there is none, because the API
	// server is down, or the connection broke, or it goes on.
	Status int
}

// newRecord describes a request whose body was read.
func newRecord(r *http.Request, content []byte) *Record {
	query := r.URL.Query()
	about := parseTarget(r.Method, r.URL)
	record := &Record{
		User:         tokenSubject(r.Header.Get("Authorization")),
		Impersonated: r.Header.Get("Impersonate-User"),
		UserAgent:    r.UserAgent(),
		Verb:         about.Verb,
		Path:         r.URL.Path,
		APIGroup:     about.APIGroup,
		Resource:     about.Resource,
		Subresource:  about.Subresource,
		Namespace:    about.Namespace,
		Name:         about.Name,
		Query:        query,
		FieldManager: query.Get("fieldManager"),
		DryRun:       slices.Contains(query["dryRun"], metav1.DryRunAll),
	}
	if about.writes() && (about.Name == "" || about.Verb == "delete" || about.isLease() || about.isSecret()) {
		record.readBody(about, content)
	}
	record.Mutating = about.writes() && !record.DryRun
	return record
}

// readBody takes from the body of a write what the URL does not say.
func (r *Record) readBody(about target, content []byte) {
	var body struct {
		Metadata struct {
			Name   string
			Labels map[string]string
		}
		DryRun []string
		Spec   json.RawMessage
	}
	if decode(content, &body) != nil {
		return
	}
	switch {
	case about.Verb == "delete" || about.Verb == "deletecollection":
		r.DryRun = r.DryRun || slices.Contains(body.DryRun, metav1.DryRunAll)
		return
	case r.Name == "":
		r.Name = body.Metadata.Name
	}
	if about.isSecret() {
		r.Labels = body.Metadata.Labels
	}
	if about.isLease() && len(body.Spec) > 0 {
		spec := &coordinationv1.LeaseSpec{}
		if json.Unmarshal(body.Spec, spec) == nil {
			r.Lease = spec
		}
	}
}

// decode reads a body in any form that clients use: protobuf for built-in
// kinds, YAML in apply patches, JSON else.
func decode(content []byte, into any) error {
	switch {
	case bytes.HasPrefix(content, []byte("k8s\x00")):
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(content, nil, nil)
		if err != nil {
			return err
		}
		if content, err = json.Marshal(object); err != nil {
			return err
		}
	case !bytes.HasPrefix(content, []byte("{")):
		return yaml.Unmarshal(content, into)
	}
	return json.Unmarshal(content, into)
}

// tokenSubject reads whom a ServiceAccount's token is for. The API server
// checks the signature; the proxy only passes it on.
func tokenSubject(authorization string) string {
	parts := strings.Split(strings.TrimPrefix(authorization, "Bearer "), ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Subject
}
