package artifact

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// AccessConfigMap is the name of the ConfigMap, in the hub's namespace, that
	// says how agents outside of the hub get artifacts: address and ca.crt.
	AccessConfigMap = "headwater-artifacts"

	authorityCert, authorityKey = "ca.crt", "ca.key"
	addressKey                  = "address"
	// refresh is how often the Secret of the certificate is read, retry how soon after
	// that has failed.
	refresh = time.Hour
	retry   = time.Minute
)

// Outside serves artifacts to agents that are not in the hub's cluster: over TLS,
// to bearers of tokens that may get the source. The certificate is given in a
// Secret (tls.crt, tls.key and, unless the public authorities are meant, ca.crt),
// or made by an authority that the hub keeps in that Secret. It runs on the
// leader, as Server does.
type Outside struct {
	// Store holds the artifacts.
	Store *Store
	// Addr to listen on; nothing is served when it is empty. --artifact-tls-addr.
	Addr string
	// Advertised is the host and port at which agents reach Addr.
	// --artifact-tls-adv-addr.
	Advertised string
	// Namespace of the Secret and the ConfigMap.
	Namespace string
	// Secret is its name. --artifact-tls-secret.
	Secret string
	// Clock is the real one when nil.
	Clock clock.Clock

	client client.Client
	live   client.Reader

	// current is the certificate in use; nil before there is one.
	current atomic.Pointer[tls.Certificate]
}

// NeedLeaderElection is true: see Server.
func (*Outside) NeedLeaderElection() bool { return true }

// AddToManager lets the manager run the server, if it is to run.
func (o *Outside) AddToManager(mgr manager.Manager) error {
	if o.Addr == "" {
		return nil
	}
	if host, port, err := net.SplitHostPort(o.Advertised); err != nil || host == "" || port == "" {
		return errors.New("--artifact-tls-adv-addr: want the host and port at which agents outside reach --artifact-tls-addr, such as hub.example.com:443")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	o.client, o.live = mgr.GetClient(), mgr.GetAPIReader()
	return mgr.Add(o)
}

// Start serves until the context ends. It needs neither the Secret nor the API
// server to begin: while there is no certificate, handshakes fail.
func (o *Outside) Start(ctx context.Context) error {
	var following sync.WaitGroup
	defer following.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	following.Go(func() { o.follow(ctx) })
	server := &Server{
		Addr:    o.Addr,
		handler: newReviewed(o.Store, o.client),
		tls: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if current := o.current.Load(); current != nil {
				return current, nil
			}
			return nil, errors.New("there is no certificate yet (--artifact-tls-secret)")
		}},
		flag: "--artifact-tls-addr",
	}
	return server.Start(ctx)
}

// follow keeps the certificate in use, and what is said of its authority, in line
// with the Secret, until the context ends. What is wrong is logged once.
func (o *Outside) follow(ctx context.Context) {
	said := ""
	for {
		pause, wrong := refresh, ""
		if err := o.refresh(ctx); err != nil {
			pause, wrong = retry, err.Error()
		}
		if wrong != "" && wrong != said && ctx.Err() == nil {
			log.FromContext(ctx).Info("artifacts are not served to agents outside with what the Secret says", "error", wrong)
		}
		said = wrong
		select {
		case <-ctx.Done():
			return
		case <-o.Clock.After(pause):
		}
	}
}

// refresh reads the Secret. When that fails, what was in use stays so.
func (o *Outside) refresh(ctx context.Context) error {
	certificate, authority, err := o.load(ctx)
	if err != nil {
		return fmt.Errorf("certificate of the artifact server (--artifact-tls-secret): %w", err)
	}
	o.current.Store(certificate)
	if err := o.publish(ctx, authority); err != nil {
		return fmt.Errorf("say where artifacts are served: %w", err)
	}
	return nil
}

// load reads the certificate from the Secret, or makes one, and with it the
// authority by which agents know it.
func (o *Outside) load(ctx context.Context) (*tls.Certificate, []byte, error) {
	secret, err := o.secret(ctx)
	if err != nil {
		return nil, nil, err
	}
	if key := secret.Data[authorityKey]; len(key) > 0 {
		host, _, err := net.SplitHostPort(o.Advertised)
		if err != nil {
			return nil, nil, err
		}
		certificate, err := issue(secret.Data[authorityCert], key, host, o.Clock.Now())
		if err != nil {
			return nil, nil, fmt.Errorf("secret %s/%s: %w", o.Namespace, o.Secret, err)
		}
		return certificate, secret.Data[authorityCert], nil
	}
	given, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, nil, fmt.Errorf("secret %s/%s: the keys tls.crt and tls.key: %w", o.Namespace, o.Secret, err)
	}
	return &given, secret.Data[authorityCert], nil
}

// secret reads the Secret, or makes it with a new authority.
func (o *Outside) secret(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Secret}}
	err := o.live.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	if !apierrors.IsNotFound(err) {
		return secret, err
	}
	authority, key, err := newAuthority(o.Clock.Now())
	if err != nil {
		return nil, err
	}
	secret.Data = map[string][]byte{authorityCert: authority, authorityKey: key}
	if err := o.client.Create(ctx, secret); err != nil {
		return nil, fmt.Errorf("make secret %s/%s: %w", o.Namespace, o.Secret, err)
	}
	log.FromContext(ctx).Info("authority of the artifact server made: agents that know another need hub agent install", "secret", o.Namespace+"/"+o.Secret)
	return secret, nil
}

// publish says in a ConfigMap how artifacts are reached from outside.
func (o *Outside) publish(ctx context.Context, authority []byte) error {
	access := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: AccessConfigMap}}
	data := map[string]string{addressKey: "https://" + o.Advertised, authorityCert: string(authority)}
	err := o.live.Get(ctx, client.ObjectKeyFromObject(access), access)
	if client.IgnoreNotFound(err) != nil || err == nil && maps.Equal(access.Data, data) {
		return err
	}
	access.Data = data
	if err != nil {
		return o.client.Create(ctx, access)
	}
	return o.client.Update(ctx, access)
}
