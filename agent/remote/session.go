package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/remote/view"
)

const (
	// Idle checks of HTTP/2: the library's defaults notice a dead connection
	// after 45 s only.
	http2IdleCheck = 5 * time.Second
	http2Ping      = 5 * time.Second

	discoveryTimeout = 15 * time.Second
	handshakeTimeout = 10 * time.Second
	idleConnections  = 90 * time.Second

	// versionEvery is after how many probes the server's version is read again: five
	// minutes by default.
	versionEvery = 30
)

// session is one live connection to a target, shared by all work for its key.
// Its credentials, and the server that it leads to, can change under it.
type session struct {
	*line
	gate *gate
	// config reaches the target through the gate.
	config *rest.Config
	client client.Client
	mapper apimeta.RESTMapper
	// probe and leases reach it past the gate.
	probes *discovery.DiscoveryClient
	leases client.Client

	// views end with the session.
	views view.Set
	// cut ends every request of the session.
	cut context.CancelFunc
	// version is the server's, which may be upgraded under the connection.
	version atomic.Pointer[string]
	uid     string
	latency time.Duration
	// probed counts the probes.
	probed int
}

// newSession builds a session on the configuration without any I/O.
func newSession(config *rest.Config, g *gate, like *session, shared *tables) (*session, error) {
	var known *wire
	if like != nil {
		known = like.current.Load()
	}
	by, err := newWire(config, g, g.fence.Request, known)
	if err != nil {
		return nil, err
	}
	s := &session{line: &line{clock: g.fence.clock}, gate: g}
	s.put(by)
	s.config = clientConfig(config, &outlet{line: s.line, gated: true})
	raw := clientConfig(config, &outlet{line: s.line})
	if s.probes, err = discovery.NewDiscoveryClientForConfig(raw); err != nil {
		return nil, err
	}
	if s.leases, err = client.New(raw, client.Options{Mapper: leaseMapper()}); err != nil {
		return nil, err
	}
	through := &http.Client{Transport: s.config.Transport}
	described, err := discovery.NewDiscoveryClientForConfigAndClient(s.config, through)
	if err != nil {
		return nil, err
	}
	s.mapper = &kinds{server: described.RESTClient(), shared: shared, known: map[schema.GroupVersion]table{}}
	s.client, err = client.New(s.config, client.Options{HTTPClient: through, Mapper: s.mapper})
	return s, err
}

// adopt makes the session go on with what another one has tried out.
func (s *session) adopt(tried *session) error {
	by := tried.current.Load()
	own, err := newWire(by.config, s.gate, s.gate.fence.Request, by)
	if err != nil {
		return err
	}
	s.put(own)
	s.version.Store(tried.version.Load())
	s.latency = tried.latency
	return nil
}

// leadsTo says whether the session may go on as the other one: both lead to one
// cluster, by its uid, or where that may not be read, by the server.
func (s *session) leadsTo(other *session) bool {
	ours, theirs := s.current.Load().config, other.current.Load().config
	if s.uid == "" || other.uid == "" {
		return ours.Host == theirs.Host
	}
	before, err := url.Parse(s.config.Host)
	if err != nil {
		return false
	}
	after, err := url.Parse(theirs.Host)
	return err == nil && s.uid == other.uid && before.Path == after.Path
}

// newTransport makes connections with the settings of the kubeconfig, through the
// proxy of the environment where that names none, as client-go does.
func newTransport(config *rest.Config, g *gate, timeout time.Duration) (*http.Transport, error) {
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, refusedSettings("TLS settings of the kubeconfig", err)
	}
	proxy := config.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            g.dial(dialer(timeout)),
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    handshakeTimeout,
		IdleConnTimeout:        idleConnections,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: mostHeader,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: http2IdleCheck, PingTimeout: http2Ping},
	}, nil
}

// clientConfig is a configuration whose requests go by the round tripper.
func clientConfig(config *rest.Config, by http.RoundTripper) *rest.Config {
	return &rest.Config{
		Host:      config.Host,
		APIPath:   config.APIPath,
		Transport: by,
		// The server's own fairness and the cap per target do it.
		QPS: -1,
		// What a target warns of is the business of those who write its
		// manifests, and is the same at each run.
		WarningHandlerWithContext: rest.NoWarnings{},
	}
}

func refusedSettings(what string, err error) error {
	return &configError{fmt.Errorf("%s: %w", what, err)}
}

// leaseMapper knows the one kind that the fence needs, so that taking a fence
// costs no discovery.
func leaseMapper() apimeta.RESTMapper {
	gv := coordinationGroupVersion
	mapper := apimeta.NewDefaultRESTMapper(nil)
	mapper.Add(gv.WithKind("Lease"), apimeta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), apimeta.RESTScopeRoot)
	return mapper
}

// probe asks the server whether it is there, and now and then for its version.
func (s *session) probe(ctx context.Context) error {
	started := time.Now()
	err := s.probes.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		err = s.probes.RESTClient().Get().AbsPath("/version").Do(ctx).Error()
	}
	if err != nil {
		return err
	}
	s.latency = time.Since(started)
	if s.probed++; s.probed%versionEvery == 0 {
		return s.readVersion(ctx)
	}
	return nil
}

func (s *session) readVersion(ctx context.Context) error {
	body, err := s.probes.RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	var info version.Info
	if err := json.Unmarshal(body, &info); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	s.version.Store(&info.GitVersion)
	return nil
}

// identify reads what the target says of itself. The UID of kube-system stands
// for the cluster; credentials that may not read it leave it empty.
func (s *session) identify(ctx context.Context) error {
	if err := s.readVersion(ctx); err != nil {
		return err
	}
	var system corev1.Namespace
	err := s.leases.Get(ctx, types.NamespacedName{Name: "kube-system"}, &system)
	if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read namespace kube-system: %w", err)
	}
	s.uid = string(system.UID)
	return nil
}

func (s *session) close() {
	s.views.Close()
	s.current.Load().transport.CloseIdleConnections()
}
