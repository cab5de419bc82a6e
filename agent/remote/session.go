package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

const (
	// Idle checks of HTTP/2: the library's defaults notice a dead connection
	// after 45 s only.
	http2IdleCheck = 5 * time.Second
	http2Ping      = 5 * time.Second

	handshakeTimeout = 10 * time.Second
	idleConnections  = 90 * time.Second
)

// session is one live connection to a target, shared by all work for its key.
type session struct {
	// config reaches the target through the gate.
	config *rest.Config
	client client.Client
	mapper apimeta.RESTMapper
	// probe and leases reach it past the gate.
	probes *discovery.DiscoveryClient
	leases client.Client

	transport *http.Transport
	// cut ends every request of the session.
	cut     context.CancelFunc
	version string
	uid     string
	latency time.Duration
}

// newSession builds a session on the configuration without any I/O.
func newSession(config *rest.Config, gate *gate, timeout time.Duration) (*session, error) {
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, &configError{fmt.Errorf("TLS settings of the kubeconfig: %w", err)}
	}
	transport := &http.Transport{
		Proxy:               config.Proxy,
		DialContext:         gate.dial(dialer(timeout)),
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: handshakeTimeout,
		IdleConnTimeout:     idleConnections,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: http2IdleCheck, PingTimeout: http2Ping},
	}

	gate.next = transport
	gated, err := withTransport(config, gate)
	if err != nil {
		return nil, err
	}
	raw, err := withTransport(config, transport)
	if err != nil {
		return nil, err
	}
	s := &session{config: gated, transport: transport}
	if s.probes, err = discovery.NewDiscoveryClientForConfig(raw); err != nil {
		return nil, err
	}
	if s.leases, err = client.New(raw, client.Options{Mapper: leaseMapper()}); err != nil {
		return nil, err
	}
	gatedHTTP := &http.Client{Transport: gated.Transport}
	if s.mapper, err = apiutil.NewDynamicRESTMapper(gated, gatedHTTP); err != nil {
		return nil, err
	}
	s.client, err = client.New(gated, client.Options{HTTPClient: gatedHTTP, Mapper: s.mapper})
	return s, err
}

// withTransport is a configuration that reaches the same server through the
// given round tripper, with the credentials wrapped round it.
func withTransport(config *rest.Config, next http.RoundTripper) (*rest.Config, error) {
	wrapped, err := rest.HTTPWrappersForConfig(config, next)
	if err != nil {
		return nil, &configError{fmt.Errorf("credentials of the kubeconfig: %w", err)}
	}
	return &rest.Config{
		Host:      config.Host,
		APIPath:   config.APIPath,
		Transport: wrapped,
		// The server's own fairness and the cap per target do it.
		QPS: -1,
		// What a target warns of is the business of those who write its
		// manifests, and is the same at each run.
		WarningHandlerWithContext: rest.NoWarnings{},
	}, nil
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

// probe asks the server whether it is there.
func (s *session) probe(ctx context.Context) error {
	started := time.Now()
	err := s.probes.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		err = s.probes.RESTClient().Get().AbsPath("/version").Do(ctx).Error()
	}
	if err == nil {
		s.latency = time.Since(started)
	}
	return err
}

// identify reads what the target says of itself. The UID of kube-system stands
// for the cluster; credentials that may not read it leave it empty.
func (s *session) identify(ctx context.Context) error {
	body, err := s.probes.RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	var info version.Info
	if err := json.Unmarshal(body, &info); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	s.version = info.GitVersion
	var system corev1.Namespace
	err = s.leases.Get(ctx, types.NamespacedName{Name: "kube-system"}, &system)
	if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read namespace kube-system: %w", err)
	}
	s.uid = string(system.UID)
	return nil
}

func (s *session) close() {
	s.transport.CloseIdleConnections()
}
