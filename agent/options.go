package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/build"
	"github.com/headwater-dev/headwater/agent/helm"
	"github.com/headwater-dev/headwater/agent/kustomize"
	"github.com/headwater-dev/headwater/agent/pull"
	"github.com/headwater-dev/headwater/agent/remote"
	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard/member"
)

// options are the agent's own flags.
type options struct {
	name             string
	labels           map[string]string
	memberLease      time.Duration
	artifacts        artifact.CacheOptions
	fence            remote.FenceOptions
	probeEvery       time.Duration
	allowExec        bool
	allowInsecureTLS bool
	workers          int
	perCluster       int
	debug            bool
	kustomizations   kustomize.Options
	helm             helm.Options
	defaultAccount   string
	ownIdentity      bool
	buildCache       int64
	buildMemory      int64
	ageSecret        string
	vaultConfig      string
	hubAccount       string
	minRetry         time.Duration
	maxRetry         time.Duration
	decryptAccount   string
	lenient          bool
	noRemoteBases    bool
	drift            kustomize.DriftOptions

	pull pull.Options
	// hub is the access to the hub of an agent inside of its target, nil for
	// others.
	hub *pull.Access
}

func (o *options) bind(flags *pflag.FlagSet) {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	flags.StringVar(&o.name, "name", host, "name of this agent in the record of ownership; stable over restarts, and one process at a time")
	flags.StringToStringVar(&o.labels, "labels", nil, "labels of this agent, which RemoteClusters can select by (key=value,...)")
	flags.DurationVar(&o.memberLease, "member-lease-duration", 15*time.Second, "time after which a silent agent counts as gone; renewed three times within it")
	flags.StringVar(&o.artifacts.Dir, "artifact-cache-dir", filepath.Join(os.TempDir(), "headwater-artifacts"), "directory of the artifact cache; the agents of a node may share one")
	flags.Int64Var(&o.artifacts.MaxBytes, "artifact-cache-size", 1<<30, "bound of the artifact cache in bytes")
	flags.StringVar(&o.fence.Namespace, "fence-namespace", "kube-system", "namespace on the targets in which the fence Lease is kept; the same for all agents")
	flags.DurationVar(&o.fence.Duration, "fence-duration", 30*time.Second, "time after which a fence that is not renewed may be taken by another agent; the same for all agents")
	flags.DurationVar(&o.fence.Request, "request-timeout", 10*time.Second, "longest time that one write to a target may take; --fence-duration must be more than 2.4 times as long; the same for all agents")
	flags.DurationVar(&o.fence.Idle, "fence-idle", 30*time.Second, "time after the last write at which a fence is released; longer than --request-timeout")
	flags.DurationVar(&o.probeEvery, "probe-interval", 10*time.Second, "time between two probes of a target")
	flags.IntVar(&o.workers, "concurrent", 512, "objects of one kind that are worked on at once; most of them wait for their targets. Of Helm actions 16 are at work at once, or 4 for each CPU")
	flags.IntVar(&o.perCluster, "concurrent-per-cluster", 4, "objects of one target that are worked on at once, of all kinds")
	flags.DurationVar(&o.minRetry, "min-retry-delay", reconcile.DefaultMinRetryDelay, "time until an object that failed once, and has no retry interval, is tried again")
	flags.DurationVar(&o.maxRetry, "max-retry-delay", reconcile.DefaultMaxRetryDelay, "time until an object that goes on failing is tried again")
	flags.BoolVar(&o.debug, "debug-targets", false, "serve /debug/targets at --metrics-addr: connection, fence and queue of each target, as JSON without secrets")
	flags.StringVar(&o.hubAccount, "hub-service-account", "", "ServiceAccount in the agents' namespace that objects which deploy to the hub's own cluster act as where they name none; empty: the agent itself, so that whoever may make a Kustomization can do there what agents can, on the objects of all tenants")
	flags.StringVar(&o.defaultAccount, "default-kubeconfig-service-account", "", "ServiceAccount whose token is used for a kubeConfig.configMapRef that names none")
	o.drift.Bind(flags)
	flags.StringVar(&o.pull.Secret, "pull-secret", "", "namespace/name of the Secret, in the cluster that this agent runs in, with its credentials for the hub, as hub agent install has written it: the agent acts for this cluster and no other")
	flags.StringVar(&o.pull.Kubeconfig, "target-kubeconfig", "", "with --pull-secret, the kubeconfig of the cluster that this agent acts for; by default the Pod's ServiceAccount")
	flags.BoolVar(&o.ownIdentity, "kubeconfig-own-identity", false, "let a kubeConfig.configMapRef that names no ServiceAccount use the agent's own identity at the cloud, which every tenant can then have used")
	flags.BoolVar(&o.allowExec, "insecure-kubeconfig-exec", false, "accept kubeconfigs with exec plugins")
	flags.BoolVar(&o.allowInsecureTLS, "insecure-kubeconfig-tls", false, "accept kubeconfigs with insecure-skip-tls-verify")
	flags.Int64Var(&o.buildCache, "build-cache-size", 64<<20, "bound in bytes of the rendered manifests that are kept in memory")
	flags.Int64Var(&o.buildMemory, "build-memory", build.DefaultMemory, "bound in bytes of what one process of kustomize takes; there are four at most, and the memory of the agent's container has to have room for them")
	flags.StringVar(&o.ageSecret, "sops-age-secret", "", "Secret in the agents' namespace with age identities (*.agekey) that every Kustomization with decryption may use, after its own keys")
	flags.StringVar(&o.vaultConfig, "sops-vault-configmap", "", "ConfigMap in the agents' namespace whose key config.yaml lists the Vaults and OpenBaos (instances with address and loginPath) at which the ServiceAccount of a Kustomization's decryption logs in, in the role <namespace>_<name>")
	flags.StringVar(&o.decryptAccount, "default-decryption-service-account", "", "ServiceAccount, in the Kustomization's namespace, in whose name clouds and Vaults are asked for keys where spec.decryption names none; empty: clouds in the agent's own, and no Vault")
	flags.BoolVar(&o.lenient, "lenient-post-build-substitutions", false, "take undefined variables for empty ones instead of failing, as Flux did before 2.9")
	flags.BoolVar(&o.noRemoteBases, "no-remote-bases", true, "refuse kustomizations that name resources or components at other places; false lets the agent fetch them over https and http, without credentials. Unlike Flux's, it is on by default")
	o.bindKustomizations(flags)
}

// bindKustomizations are the flags that say what Kustomizations and HelmReleases
// may do, by Flux's names.
func (o *options) bindKustomizations(flags *pflag.FlagSet) {
	to := &o.kustomizations
	flags.DurationVar(&to.RequeueDependency, "requeue-dependency", 30*time.Second, "time after which an unmet dependency is looked at again")
	flags.BoolVar(&to.NoCrossNamespaceRefs, "no-cross-namespace-refs", false, "refuse references to sources and dependencies in other namespaces")
	flags.StringVar(&to.DefaultServiceAccount, "default-service-account", "", "ServiceAccount to impersonate at the target where spec.serviceAccountName is empty")
	flags.Func("watch-configs-label-selector", "labels of the ConfigMaps and Secrets whose changes wake the Kustomizations and HelmReleases that read them (default reconcile.fluxcd.io/watch=Enabled)", func(text string) error {
		selector, err := labels.Parse(text)
		to.WatchConfigs = selector
		return err
	})
	flags.Var(featureGates{o}, "feature-gates", "features to turn on or off, as Name=true,...: "+strings.Join(gateNames(), ", "))
}

// releases are how HelmReleases are worked on: where an option is for both kinds,
// as Kustomizations are.
func (o *options) releases() helm.Options {
	both, options := o.kustomizations, o.helm
	options.RequeueDependency = both.RequeueDependency
	options.NoCrossNamespaceRefs = both.NoCrossNamespaceRefs
	options.DefaultServiceAccount = both.DefaultServiceAccount
	options.ExternalArtifacts = both.ExternalArtifacts
	options.AdditiveReadyExpr = both.AdditiveReadyExpr
	options.WatchConfigs = both.WatchConfigs
	options.PerCluster = o.perCluster
	options.Poll, options.FullCheck = o.drift.Polls(), o.drift.FullCheck
	options.Retries = o.retries()
	return options
}

// retries are the pauses between attempts, of both kinds.
func (o *options) retries() reconcile.Pace {
	return reconcile.Pace{MinRetryDelay: o.minRetry, MaxRetryDelay: o.maxRetry}
}

// watchedConfigs selects the ConfigMaps that are held, without their data.
func (o *options) watchedConfigs() labels.Selector {
	if o.kustomizations.WatchConfigs != nil {
		return o.kustomizations.WatchConfigs
	}
	return labels.SelectorFromSet(labels.Set{meta.WatchLabel: "Enabled"})
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme, helmv2.AddToScheme, fleetv1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}

// cache holds this agent's own objects alone, selected at the server by the
// routing label, and no Helm storage. Of Secrets it holds nothing that they contain.
func (o *options) cache(app.Options) cache.Options {
	own := labels.SelectorFromSet(labels.Set{meta.AgentLabel: o.name})
	return o.narrow(cache.Options{
		ByObject: map[client.Object]cache.ByObject{
			&kustomizev1.Kustomization{}: {Label: own},
			&helmv2.HelmRelease{}:        {Label: own},
			&corev1.ConfigMap{}:          {Label: o.watchedConfigs(), Transform: app.Bare},
			&corev1.Secret{}:             {Field: fields.OneTermNotEqualSelector("type", "helm.sh/release.v1"), Transform: app.Bare},
		},
		DefaultTransform: cache.TransformStripManagedFields(),
	})
}

// builds are how Kustomizations are rendered.
func (o *options) builds(namespace string) kustomize.BuildOptions {
	options := kustomize.BuildOptions{CacheBytes: o.buildCache, LenientSubstitution: o.lenient, DecryptionAccount: o.decryptAccount, Remotes: !o.noRemoteBases}
	if o.ageSecret != "" {
		options.AgeSecret = types.NamespacedName{Namespace: namespace, Name: o.ageSecret}
	}
	if o.vaultConfig != "" {
		options.VaultConfig = types.NamespacedName{Namespace: namespace, Name: o.vaultConfig}
	}
	return options
}

// targets are the connections to the clusters that this agent owns.
func (o *options) targets(ctx context.Context, a *app.App) (*remote.Clusters, error) {
	if o.name == "" {
		return nil, errors.New("--name is empty and the machine has no hostname: give the agent a name")
	}
	if o.hub != nil {
		return o.target(a), nil
	}
	uid, err := hubUID(ctx, a.Manager.GetAPIReader())
	if err != nil {
		return nil, err
	}
	targets := o.clusters(a)
	targets.HubUID = uid
	return targets, nil
}

// clusters are what the flags say of connections.
func (o *options) clusters(a *app.App) *remote.Clusters {
	return &remote.Clusters{
		Events:           a.Events,
		Agent:            o.name,
		Identity:         o.name + "_" + uuid.NewString(),
		Namespace:        o.namespace(a),
		Fence:            o.fence,
		ProbeEvery:       o.probeEvery,
		Workers:          o.workers,
		PerCluster:       o.perCluster,
		Debug:            o.debug,
		DefaultAccount:   o.defaultAccount,
		HubAccount:       o.hubAccount,
		Retries:          o.retries(),
		AllowOwnIdentity: o.ownIdentity,
		AllowExec:        o.allowExec,
		AllowInsecureTLS: o.allowInsecureTLS,
		Clock:            systemClock(),
	}
}

// hubUID identifies the hub; its fences on a target are named by it.
func hubUID(ctx context.Context, hub client.Reader) (string, error) {
	var system corev1.Namespace
	if err := hub.Get(ctx, types.NamespacedName{Name: "kube-system"}, &system); err != nil {
		return "", fmt.Errorf("identify the hub by the uid of its namespace kube-system: %w", err)
	}
	return string(system.UID), nil
}

func (o *options) member(a *app.App, identity string, meter *member.Meter) *member.Member {
	return &member.Member{
		Name:      o.name,
		ID:        identity,
		Namespace: o.namespace(a),
		Labels:    o.labels,
		Duration:  o.memberLease,
		Meter:     meter,
		Clock:     systemClock(),
	}
}
