package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	remotes "github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/hub/placement"
	"github.com/headwater-dev/headwater/hub/source/helm"
	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// options are the hub's own flags.
type options struct {
	store       artifact.StoreOptions
	storageAddr string
	outside     artifact.Outside
	imageTags   string

	noCrossNamespaceRefs bool

	concurrent         int
	minRetry, maxRetry time.Duration
	maxTimeout         time.Duration

	ssh remotes.Algorithms

	clouds cloud.Logins

	helm      helm.Limits
	helmCache int64

	memberLease   time.Duration
	reassignAfter time.Duration
}

func (o *options) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.store.Dir, "storage-path", filepath.Join(os.TempDir(), "headwater-storage"), "directory of the artifacts")
	flags.StringVar(&o.storageAddr, "storage-addr", ":9090", "address that serves the artifacts")
	flags.StringVar(&o.store.AdvertisedAddr, "storage-adv-addr", "", "host and port at which agents reach the artifacts (required)")
	flags.StringVar(&o.outside.Addr, "artifact-tls-addr", "", "address that serves the artifacts over TLS to agents outside of this cluster (hub agent install); by default none")
	flags.StringVar(&o.outside.Advertised, "artifact-tls-adv-addr", "", "host and port at which those agents reach --artifact-tls-addr")
	flags.StringVar(&o.outside.Secret, "artifact-tls-secret", "headwater-artifact-tls", "Secret in the runtime namespace with the certificate for it (tls.crt, tls.key, ca.crt); made when there is none")
	flags.DurationVar(&o.store.RetentionTTL, "artifact-retention-ttl", time.Minute, "time for which a replaced artifact is kept")
	flags.IntVar(&o.store.RetentionRecords, "artifact-retention-records", 2, "artifacts kept of each source at most, the current one included")
	flags.StringVar(&o.imageTags, "image-storage-path", filepath.Join(os.TempDir(), "headwater-images"), "directory of the tags that scans of image repositories have found")
	flags.BoolVar(&o.noCrossNamespaceRefs, "no-cross-namespace-refs", false, "refuse references to objects of other namespaces")
	flags.IntVar(&o.concurrent, "concurrent", 2, "objects of one kind and one namespace that are reconciled at once, of images 4 at least; of all namespaces eight times as many")
	flags.DurationVar(&o.minRetry, "min-retry-delay", reconcile.DefaultMinRetryDelay, "time until an object that failed once is tried again")
	flags.DurationVar(&o.maxRetry, "max-retry-delay", reconcile.DefaultMaxRetryDelay, "time until an object that goes on failing is tried again")
	flags.DurationVar(&o.maxTimeout, "max-source-timeout", 10*time.Minute, "time that spec.timeout of a source or an image repository gets at most; 0 for any")
	flags.StringSliceVar(&o.ssh.KeyExchange, "ssh-kex-algos", nil, "key exchanges that ssh to Git repositories may use, in order of preference; by default the safe ones")
	flags.StringSliceVar(&o.ssh.HostKey, "ssh-hostkey-algos", nil, "kinds of host keys that ssh to Git repositories takes; by default those in known_hosts")
	flags.StringVar(&o.clouds.DefaultAccount, "default-service-account", "", "ServiceAccount of an object's namespace that logs in at clouds for an object with a spec.provider and no spec.serviceAccountName; by default the hub's own identity does")
	flags.IntVar(&o.clouds.CacheSize, "token-cache-max-size", 100, "logins at clouds and GitHub Apps that are kept at once; 0 for none")
	flags.DurationVar(&o.clouds.CacheFor, "token-cache-max-duration", time.Hour, "time for which such a login is kept at most")
	flags.Int64Var(&o.helm.Index, "helm-index-max-size", 50<<20, "bytes of an index of a Helm repository at most")
	flags.Int64Var(&o.helm.Chart, "helm-chart-max-size", 10<<20, "bytes of a packaged Helm chart at most")
	flags.Int64Var(&o.helm.File, "helm-chart-file-max-size", 5<<20, "bytes of one file in a Helm chart at most; agents read none of more than 5 MiB, whatever this says")
	flags.Int64Var(&o.helmCache, "helm-index-cache-size", 256<<20, "bytes of memory for indexes of Helm repositories, about")
	flags.DurationVar(&o.memberLease, "member-lease-duration", 15*time.Second, "time after which a silent agent counts as gone")
	flags.DurationVar(&o.reassignAfter, "reassign-after", 30*time.Second, "time after which the clusters of an agent that was stopped are given to others, where its AgentPool does not say; of one that fell silent half of it, or --member-lease-duration if that is longer")
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme, helmv2.AddToScheme,
		imagev1.AddToScheme, fleetv1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}

// cache holds of the Kustomizations what placement looks at, of Secrets nothing
// that they contain, and no Helm storage.
func (o *options) cache(app.Options) cache.Options {
	return cache.Options{
		ByObject: map[client.Object]cache.ByObject{
			&kustomizev1.Kustomization{}: {Transform: placement.Strip},
			&helmv2.HelmRelease{}:        {Transform: placement.Strip},
			&corev1.Secret{}:             {Field: fields.OneTermNotEqualSelector("type", "helm.sh/release.v1"), Transform: app.Bare},
		},
		DefaultTransform: cache.TransformStripManagedFields(),
	}
}

// artifactsOutside serves the artifacts to agents that are not in this cluster.
func (o *options) artifactsOutside(a *app.App, store *artifact.Store) *artifact.Outside {
	o.outside.Store, o.outside.Namespace = store, a.Options.Namespace
	return &o.outside
}
