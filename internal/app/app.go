package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Program is one of Headwater's processes.
type Program struct {
	// Name is the process's short name: hub or agent.
	Name string
	// About is the first paragraph of --help.
	About string
	// Scheme knows the kinds that the process handles.
	Scheme *runtime.Scheme
	// LeaderElection offers the flag --enable-leader-election.
	LeaderElection bool
	// Connect makes the access to the hub of a process that has it neither from
	// a kubeconfig nor from its Pod; nil, or a nil answer, is no such process.
	Connect func(context.Context, Options) (*rest.Config, error)
	// Flags binds the flags that this process alone has.
	Flags func(*pflag.FlagSet)
	// Cache says what the manager's cache holds; it is called after the flags
	// have been parsed.
	Cache func(Options) cache.Options
	// Commands are what the program does besides.
	Commands []Command
	// Setup adds the controllers. It is a table of contents.
	Setup func(context.Context, *App) error
}

// App is a process that is being put together.
type App struct {
	// Options are the parsed common flags.
	Options Options
	// Manager runs what is added.
	Manager ctrl.Manager
	// Events publishes events.
	Events *reconcile.Recorder
}

// Part is something that can be added to a process.
type Part interface {
	AddToManager(ctrl.Manager) error
}

// Add adds the parts in order.
func (a *App) Add(parts ...Part) error {
	for _, part := range parts {
		if err := part.AddToManager(a.Manager); err != nil {
			return fmt.Errorf("add %T: %w", part, err)
		}
	}
	return nil
}

// Run parses the flags, sets the process up, and runs it until a signal ends it.
// It exits the process.
func Run(p Program) {
	if err := p.run(os.Args[1:]); err != nil {
		p.exit(err)
	}
}

func (p Program) run(args []string) error {
	if command, rest := p.called(args); command != nil {
		return command.run(ctrl.SetupSignalHandler(), rest)
	}
	options, err := p.parse(args)
	if errors.Is(err, pflag.ErrHelp) || errors.Is(err, errVersion) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := options.setUpLogs(); err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	app, err := p.build(ctx, options)
	if err != nil {
		return err
	}
	if err := p.Setup(ctx, app); err != nil {
		return err
	}
	return app.Manager.Start(ctx)
}

// build makes the manager and the recorder of events.
func (p Program) build(ctx context.Context, options Options) (*App, error) {
	config, err := p.connect(ctx, options)
	if err != nil {
		return nil, err
	}
	managerOptions := ctrl.Options{
		Scheme:                        p.Scheme,
		Metrics:                       server.Options{BindAddress: options.MetricsAddr},
		HealthProbeBindAddress:        options.HealthAddr,
		GracefulShutdownTimeout:       &options.GracefulShutdown,
		LeaderElection:                options.LeaderElection,
		LeaderElectionID:              "headwater-" + p.Name + "-leader-election",
		LeaderElectionNamespace:       options.Namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &options.LeaderLease,
		RenewDeadline:                 &options.LeaderRenew,
		RetryPeriod:                   &options.LeaderRetry,
	}
	if p.Cache != nil {
		managerOptions.Cache = p.Cache(options)
	}
	manager, err := ctrl.NewManager(config, managerOptions)
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	if err := errors.Join(manager.AddHealthzCheck("ping", healthz.Ping), manager.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return nil, err
	}
	events, err := newRecorder(manager, config, "headwater-"+p.Name, options.EventsAddr)
	if err != nil {
		return nil, err
	}
	return &App{Options: options, Manager: manager, Events: events}, nil
}

// newRecorder records core/v1 Events, which the flux CLI reads.
func newRecorder(manager ctrl.Manager, config *rest.Config, controller, address string) (*reconcile.Recorder, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf // less work for both sides
	clients, err := kubernetes.NewForConfigAndClient(config, manager.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: clients.CoreV1().Events("")})
	kubernetes := broadcaster.NewRecorder(manager.GetScheme(), corev1.EventSource{Component: controller})
	events := reconcile.NewRecorder(kubernetes, manager.GetScheme(), controller, address)
	return events, manager.Add(events)
}

// connect is the process's access to the hub's API server.
func (p Program) connect(ctx context.Context, options Options) (*rest.Config, error) {
	if p.Connect == nil {
		return options.hubConfig(p.Name, "kubeconfig")
	}
	config, err := p.Connect(ctx, options)
	if err != nil {
		return nil, err
	}
	if config == nil {
		return options.hubConfig(p.Name, "kubeconfig")
	}
	return options.tune(config, p.Name), nil
}

// hubConfig is the access to the hub's API server: what the flag says, $KUBECONFIG,
// ~/.kube/config, or the Pod's own ServiceAccount.
func (o Options) hubConfig(name, flag string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		err = errors.New("there is none of these, or nothing in it")
	}
	if err != nil {
		return nil, fmt.Errorf("access to the hub (--%s, $KUBECONFIG, ~/.kube/config, or a Pod's ServiceAccount): %w", flag, err)
	}
	return o.tune(config, name), nil
}

// tune makes a configuration that of a process of the name.
func (o Options) tune(config *rest.Config, name string) *rest.Config {
	config.UserAgent = "headwater-" + name
	// Each of the API server's warnings once: it repeats them for each object.
	config.WarningHandlerWithContext = log.NewKubeAPIWarningLogger(log.KubeAPIWarningLoggerOptions{Deduplicate: true})
	config.QPS = o.KubeAPIQPS
	config.Burst = o.KubeAPIBurst
	return config
}
