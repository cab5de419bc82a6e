package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	startTimeout = 2 * time.Minute       // of one part; it takes seconds unless the machine is overloaded
	pollInterval = 50 * time.Millisecond // between two looks at a part that starts
)

// Options says what a control plane consists of besides etcd and the API
// server.
type Options struct {
	// Name is the cluster's name in kubeconfigs and errors; "testenv" when empty.
	Name string
	// ControllerManager adds kube-controller-manager: Deployments get pods,
	// namespaces go away, dependents are garbage collected.
	ControllerManager bool
	// Kubelet adds a node that runs every pod, as Kubelet says.
	Kubelet bool
}

// ControlPlane is a running Kubernetes control plane on loopback. Its methods
// may be called from several goroutines.
type ControlPlane struct {
	// URL is the address of the API server. It stays the same over restarts.
	URL string

	options   Options
	binary    string
	dir       *directory
	port      *port
	authority *authority
	admin     keyPair
	serving   keyPair

	mu      sync.Mutex // guards what follows
	etcd    *Process
	api     *Process
	manager *Process // nil without a controller manager
	kubelet *Kubelet // nil without one
}

// Start starts a control plane and returns when it is ready for use: RBAC's
// default roles and the default namespace are there and, with a controller
// manager, the ServiceAccount that pods run under.
//
// The context limits the start alone. Call Stop at the end; a parent that
// ends without it leaves no process behind.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	if options.Name == "" {
		options.Name = "testenv"
	}
	c, err := newControlPlane(options)
	if err != nil {
		return nil, fmt.Errorf("starting control plane %s: %w", options.Name, err)
	}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("starting control plane %s: %w", options.Name, err)
	}
	return c, nil
}

func newControlPlane(options Options) (*ControlPlane, error) {
	c := &ControlPlane{options: options}
	var err error
	if c.binary, err = findBinary(); err != nil {
		return nil, err
	}
	if c.authority, err = newAuthority("testenv " + options.Name); err != nil {
		return nil, err
	}
	if c.admin, err = c.authority.client("admin", []string{"system:masters"}); err != nil {
		return nil, err
	}
	if c.serving, err = c.authority.server(); err != nil {
		return nil, err
	}
	if c.port, err = reservePort(); err != nil {
		return nil, err
	}
	if c.dir, err = newDirectory(); err != nil {
		return nil, errors.Join(err, c.port.release())
	}
	c.URL = "https://" + c.port.address()
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	if err := c.writeCredentials(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.startEtcd(ctx); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	if c.options.ControllerManager {
		if err := c.startControllerManager(ctx); err != nil {
			return err
		}
	}
	if c.options.Kubelet {
		kubelet, err := StartKubelet(ctx, c.Config())
		if err != nil {
			return err
		}
		c.kubelet = kubelet
	}
	return nil
}

func (c *ControlPlane) startPart(part string, args []string) (*Process, error) {
	return StartProcess(Command{
		Name: part,
		Path: c.binary,
		Args: append([]string{part}, args...),
		Log:  c.dir.file(part + ".log"),
	})
}

func (c *ControlPlane) startEtcd(ctx context.Context) error {
	etcd, err := c.startPart(etcdPart, c.etcdArgs())
	if err != nil {
		return err
	}
	c.etcd = etcd
	return await(ctx, etcd, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", c.dir.file(etcdSocket))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (c *ControlPlane) startAPIServer(ctx context.Context) error {
	api, err := c.startPart(apiServerPart, c.apiServerArgs())
	if err != nil {
		return err
	}
	c.api = api
	kube, err := rest.UnversionedRESTClientFor(c.unversionedConfig())
	if err != nil {
		return fmt.Errorf("making a client for the API server: %w", err)
	}
	return await(ctx, api, func(ctx context.Context) error {
		if err := kube.Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
			return err
		}
		return kube.Get().AbsPath("/api/v1/namespaces/default").Do(ctx).Error()
	})
}

func (c *ControlPlane) startControllerManager(ctx context.Context) error {
	manager, err := c.startPart(controllerManagerPart, c.controllerManagerArgs())
	if err != nil {
		return err
	}
	c.manager = manager
	kube, err := c.Client(nil)
	if err != nil {
		return err
	}
	return await(ctx, manager, func(ctx context.Context) error {
		return kube.Get(ctx, client.ObjectKey{Namespace: "default", Name: "default"}, &corev1.ServiceAccount{})
	})
}

// await asks until a part is ready, and tells why if it never is: because it
// ended, or what the last answer was.
func await(ctx context.Context, part *Process, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		if err := part.Err(); err != nil {
			return false, err
		}
		last = ready(ctx)
		return last == nil, nil
	})
	if ended := part.Err(); ended != nil {
		return ended
	}
	if err != nil {
		return fmt.Errorf("waiting for %s: %w; its last answer: %w%s", part.name, err, last, part.quoteLog())
	}
	return nil
}

// Stop ends the control plane and removes its data. It may be called more
// than once.
func (c *ControlPlane) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kubelet != nil {
		c.kubelet.Stop()
		c.kubelet = nil
	}
	for _, part := range []*Process{c.manager, c.api, c.etcd} {
		if part != nil {
			part.Kill()
		}
	}
	// What cannot be removed now is swept by the next start.
	_ = c.dir.remove()
	_ = c.port.release()
}

// Kill ends the API server with SIGKILL: connections are reset and new ones
// refused. The data, the port and the other parts stay.
func (c *ControlPlane) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.api.Kill()
}

// Restart kills the API server, if it still runs, starts it again with the
// same data on the same port, and returns when it is ready.
func (c *ControlPlane) Restart(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.api.Kill()
	if err := c.startAPIServer(ctx); err != nil {
		return fmt.Errorf("restarting the API server of %s: %w", c.options.Name, err)
	}
	return nil
}

// Pause freezes the API server (SIGSTOP): connections stay, and new ones are
// taken by the kernel, but nothing is answered until Resume.
func (c *ControlPlane) Pause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.api.Pause()
}

// Resume ends a Pause.
func (c *ControlPlane) Resume() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.api.Resume()
}

// Config returns a client configuration for the administrator
// (system:masters), without client-side throttling. The caller owns it.
func (c *ControlPlane) Config() *rest.Config {
	return &rest.Config{
		Host: c.URL,
		QPS:  -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   c.authority.pem,
			CertData: c.admin.certificate,
			KeyData:  c.admin.key,
		},
	}
}

func (c *ControlPlane) unversionedConfig() *rest.Config {
	config := c.Config()
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return config
}

// Client returns an uncached client for the administrator. A nil scheme means
// that of client-go: the built-in kinds and unstructured objects.
func (c *ControlPlane) Client(types *runtime.Scheme) (client.Client, error) {
	if types == nil {
		types = scheme.Scheme
	}
	kube, err := client.New(c.Config(), client.Options{Scheme: types})
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", c.options.Name, err)
	}
	return kube, nil
}
