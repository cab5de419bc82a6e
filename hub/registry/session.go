package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/cloud"
)

const (
	// MaxTextBytes bounds all lists, manifests and errors of a session.
	MaxTextBytes = 64 << 20
	// maxTextElements bounds what that is decoded into: a million tags, and as much
	// again for what stands between pages of them.
	maxTextElements = 2_000_000
	// maxManifestBytes is what registries take; a list of those that refer to a
	// manifest is one as well.
	maxManifestBytes    = 4 << 20
	maxManifestElements = 100_000
	// MaxLayerBytes bounds a layer as it is sent.
	MaxLayerBytes = 512 << 20
)

// Opener opens sessions with registries. It is safe for concurrent use.
type Opener struct {
	// Secrets reads the Secrets and ServiceAccounts that specs name: live, so
	// that the hub holds no Secret in memory for longer than it uses it.
	Secrets client.Reader
	// Transport carries the requests to registries without settings of their
	// own.
	Transport *http.Transport
	// Clouds log in where a spec names a provider.
	Clouds *cloud.Logins

	kept       pullers
	transports transports
	// lax is the transport of registries whose certificates are not looked at.
	lax     *http.Transport
	laxOnce sync.Once
}

// Access is what a spec says of how to reach a registry. The references are to
// its own namespace and may be nil.
type Access struct {
	// Namespace of the object.
	Namespace string
	// Remote is what is read, as errors name it: the field and its value.
	Remote string
	// SecretRef names the pull secret.
	SecretRef *meta.LocalObjectReference
	// Basic allows a Secret with username and password in its place.
	Basic bool
	// Provider is the cloud that gives the login where there is no SecretRef;
	// empty or generic for none.
	Provider string
	// ServiceAccountName names the ServiceAccount whose pull secrets are read
	// where SecretRef has no login; with a Provider, the one that it knows.
	ServiceAccountName string
	// CertSecretRef and ProxySecretRef are about TLS and the proxy.
	CertSecretRef, ProxySecretRef *meta.LocalObjectReference
	// Insecure allows plain HTTP, and any certificate without CertSecretRef.
	Insecure bool
}

// Session is a conversation about one repository of a registry. It belongs to
// one goroutine.
type Session struct {
	access  Access
	login   login
	bounds  *bounds
	options func() []remote.Option
	// forget has the next session ask the registry anew how to log in.
	forget func()
}

// Parse reads host/path of a repository, without a scheme. Tags, digests and
// credentials in it are errors.
func Parse(repository string, insecure bool) (name.Repository, error) {
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	parsed, err := name.NewRepository(repository, options...)
	if err != nil {
		return name.Repository{}, errors.New("it is not host/path without tag, digest and credentials")
	}
	return parsed, nil
}

// Open prepares a session; nothing is sent yet. An error has the reason
// AuthenticationFailed and names the field.
func (o *Opener) Open(ctx context.Context, repository name.Repository, a Access) (*Session, error) {
	secrets := access.Secrets{Reader: o.Secrets, Namespace: a.Namespace}
	find := readLogin
	if cloud.Is(a.Provider) && a.SecretRef == nil {
		find = o.cloudLogin
	}
	found, err := find(ctx, secrets, a, repository)
	if err != nil {
		return nil, err
	}
	base, id, err := o.transport(ctx, secrets, a)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(repository, a.Insecure, id, found.config)
	if err != nil {
		return nil, err
	}
	s := &Session{access: a, login: found, bounds: newBounds(), forget: func() { o.kept.forget(key) }}
	s.options = sync.OnceValue(func() []remote.Option {
		puller := o.kept.of(ctx, key, func(ctx context.Context) (http.RoundTripper, error) {
			return handshake(ctx, repository, &guard{base, a.Insecure}, found)
		})
		return []remote.Option{remote.WithContext(s.bounds.in(ctx)), remote.Reuse(puller)}
	})
	return s, nil
}

// transport is the one for the access, with its id: zero where there are no
// settings of the object's own.
func (o *Opener) transport(ctx context.Context, secrets access.Secrets, a Access) (base *http.Transport, id uint64, err error) {
	if a.CertSecretRef == nil && a.ProxySecretRef == nil {
		if a.Insecure {
			return o.withoutCertificates(), id, nil
		}
		return o.Transport, id, nil
	}
	settings, err := secrets.Settings(ctx, a.CertSecretRef, a.ProxySecretRef)
	if err != nil {
		return nil, id, err
	}
	base, id = o.transports.of(wiringOf(a), settings, o.Transport)
	return base, id, nil
}

// handshake asks the registry how to log in, and does. What it returns sends the
// login, or its token.
func handshake(ctx context.Context, repository name.Repository, by http.RoundTripper, as login) (http.RoundTripper, error) {
	return transport.NewWithContext(ctx, repository.Registry, authn.FromConfig(as.config),
		transport.NewUserAgent(by, "headwater"), []string{repository.Scope(transport.PullScope)})
}

// withoutCertificates is the transport of registries without settings of their
// own but spec.insecure.
func (o *Opener) withoutCertificates() *http.Transport {
	o.laxOnce.Do(func() {
		o.lax = o.Transport.Clone()
		o.lax.TLSClientConfig = anyCertificate()
	})
	return o.lax
}

func anyCertificate() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // G402: spec.insecure asks for it
}

// Options are those of every call to the registry in this session. The first time
// they wait for the handshake, which may be another session's; the calls have the
// error where it fails.
func (s *Session) Options() []remote.Option { return s.options() }
