package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/shard"
)

const (
	defaultLifetime = 24 * time.Hour
	// minLifetime is the least that API servers grant.
	minLifetime = 10 * time.Minute
)

// options are the flags of both commands.
type options struct {
	cluster, namespace string
	kubeconfig         string
	hubKubeconfig      string
	system             string
	agentNamespace     string
	fenceNamespace     string

	// Of install alone.
	export             bool
	hubServer          string
	artifacts          string
	image, clusterRole string
	// agentArgs are flags for the agent; nil for those of the last time.
	agentArgs []string
	lifetime  time.Duration

	// Of uninstall alone.
	force, hubOnly bool

	// out is told what was done; manifests is where --export prints.
	out, manifests io.Writer
}

// Commands are hub agent install and hub agent uninstall.
func Commands() []app.Command {
	return []app.Command{
		{Name: "agent install", About: "put an agent into a cluster that the hub cannot reach", Run: install},
		{Name: "agent uninstall", About: "take it out again", Run: uninstall},
	}
}

func (o *options) bind(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&o.cluster, "cluster", "", "name of the cluster: that of its RemoteCluster on the hub, which Kustomizations give in spec.kubeConfig.secretRef.name (required)")
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "namespace of the RemoteCluster on the hub, the only one that the agent may read and write")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster")
	flags.StringVar(&o.hubKubeconfig, "hub-kubeconfig", "", "kubeconfig of the hub; by default $KUBECONFIG, then ~/.kube/config, then the Pod's ServiceAccount")
	flags.StringVar(&o.system, "runtime-namespace", "flux-system", "namespace that Headwater runs in on the hub")
	flags.StringVar(&o.agentNamespace, "agent-namespace", "headwater-system", "namespace in the cluster for the agent")
	flags.StringVar(&o.fenceNamespace, "fence-namespace", "kube-system", "namespace in the cluster for the fence; the same for all agents of the hub")
}

func (o *options) bindInstall(flags *pflag.FlagSet) {
	o.bind(flags)
	flags.BoolVar(&o.export, "export", false, "print what belongs into the cluster as YAML, instead of connecting to it; it contains a token")
	flags.StringVar(&o.hubServer, "hub-server", "", "URL at which the cluster reaches the hub's API server; by default that of the hub's kubeconfig")
	flags.StringVar(&o.artifacts, "artifact-addr", "", "URL at which the cluster reaches the hub's artifacts; by default what the hub says (--artifact-tls-adv-addr)")
	flags.StringVar(&o.image, "image", "", "image of the agent; by default that of the agents in the hub")
	flags.StringVar(&o.clusterRole, "cluster-role", "cluster-admin", "ClusterRole in the cluster that the agent applies with")
	flags.StringArrayVar(&o.agentArgs, "agent-arg", nil, "flag for the agent, as in --agent-arg=--no-remote-bases=false; may be repeated. By default those of the last time, and an empty one for none; --export has those alone that are given")
	flags.DurationVar(&o.lifetime, "token-lifetime", defaultLifetime, "how long a token for the hub lasts. The agent renews it after a third; when the hub is out of reach for the rest, install again")
}

func (o *options) bindUninstall(flags *pflag.FlagSet) {
	o.bind(flags)
	flags.BoolVar(&o.force, "force", false, "also when Kustomizations or HelmReleases still deploy to the cluster: what they have applied stays there")
	flags.BoolVar(&o.hubOnly, "hub-only", false, "leave the cluster alone, which is gone or out of reach")
}

// parse reads the flags of a command. It returns pflag.ErrHelp when help was
// asked for.
func (o *options) parse(name, about string, args []string, bind func(*pflag.FlagSet)) error {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	bind(flags)
	flags.Usage = func() {
		fmt.Printf("%s\n\nUsage:\n  %s --cluster NAME [-n NAMESPACE] [flags]\n\nFlags:\n%s", about, name, flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q: see %s --help", rest[0], name)
	}
	return o.check()
}

// check refuses flags that do not fit.
func (o *options) check() error {
	for _, name := range []struct{ flag, value string }{
		{"--cluster", o.cluster}, {"--namespace", o.namespace},
		{"--agent-namespace", o.agentNamespace}, {"--fence-namespace", o.fenceNamespace}, {"--runtime-namespace", o.system},
	} {
		valid := validation.IsDNS1123Label
		if name.flag == "--cluster" {
			valid = validation.IsDNS1123Subdomain
		}
		if len(valid(name.value)) > 0 {
			return fmt.Errorf("%s %q: want lower case letters, digits and dashes", name.flag, name.value)
		}
	}
	for _, arg := range o.agentArgs {
		if arg != "" && !strings.HasPrefix(arg, "--") {
			return fmt.Errorf("--agent-arg %q: want a flag of the agent with its value, as in --agent-arg=--log-level=debug", arg)
		}
	}
	switch {
	case len(o.namespace)+len(o.cluster) > shard.MaxPullName:
		return fmt.Errorf("--cluster and --namespace are longer than %d characters together: choose a shorter name", shard.MaxPullName)
	case o.export && o.kubeconfig != "":
		return errors.New("--export prints what belongs into the cluster, and --kubeconfig connects to it: give one of them")
	case o.lifetime != 0 && o.lifetime < minLifetime:
		return fmt.Errorf("--token-lifetime %s: no API server grants less than %s", o.lifetime, minLifetime)
	}
	return nil
}

func kinds() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, fleetv1.AddToScheme, kustomizev1.AddToScheme, helmv2.AddToScheme} {
		utilruntime.Must(add(s))
	}
	return s
}

// connectHub is the access to the hub as the one who installs.
func (o *options) connectHub() (*rest.Config, client.Client, error) {
	config, err := app.HubConfig(o.hubKubeconfig, "hub-kubeconfig")
	if err != nil {
		return nil, nil, err
	}
	hub, err := client.New(config, client.Options{Scheme: kinds()})
	return config, hub, err
}

// checkServer refuses a kubeconfig of the hub that says more of the way to it than the
// agent is given, which is its URL and authority.
func (o *options) checkServer(hub *rest.Config) error {
	var field string
	switch {
	case o.hubServer != "":
		return nil
	case hub.Proxy != nil:
		field = "proxy-url"
	case hub.ServerName != "":
		field = "tls-server-name"
	case hub.Insecure:
		field = "insecure-skip-tls-verify"
	default:
		return nil
	}
	return fmt.Errorf("the hub's kubeconfig has %s, and the agent would do without: name a URL at which the cluster reaches the hub so, with --hub-server", field)
}

// connectTarget is the access to the cluster.
func (o *options) connectTarget() (client.Client, error) {
	if o.kubeconfig == "" {
		return nil, errors.New("--kubeconfig is missing: give the kubeconfig of the cluster, or --export (of uninstall: --hub-only) to do its part by hand")
	}
	if _, err := os.Stat(o.kubeconfig); err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s is no kubeconfig that can be used: %w", o.kubeconfig, err)
	}
	target, err := client.New(config, client.Options{Scheme: kinds()})
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", o.kubeconfig, err)
	}
	return target, nil
}

// requireNamespace says that a namespace of the hub is missing, or is not to be
// had, before anything is made. The agent may read all Secrets of its namespace, and
// a Lease in Headwater's own would make it an agent of the hub.
func (o *options) requireNamespace(ctx context.Context, hub client.Client) error {
	if o.namespace == o.system {
		return fmt.Errorf("--namespace %s is where Headwater itself runs (--runtime-namespace), and the agent could read its Secrets: name another", o.namespace)
	}
	err := hub.Get(ctx, client.ObjectKey{Name: o.namespace}, &corev1.Namespace{})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read namespace %s of the hub: %w", o.namespace, err)
	}
	if err != nil {
		return fmt.Errorf("--namespace %s: the hub has no such namespace: create it, or name another", o.namespace)
	}
	return nil
}

// key is what the cluster's agent owns.
func (o *options) key() shard.Key {
	return shard.Key{Namespace: o.namespace, Name: o.cluster, DataKey: "value"}
}

// account is the name of what belongs to the cluster's agent on the hub.
func (o *options) account() string { return "headwater-agent-" + o.cluster }

func (o *options) say(format string, args ...any) {
	_, _ = fmt.Fprintf(o.out, format+"\n", args...)
}
