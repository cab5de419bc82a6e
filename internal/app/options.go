package app

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

var errVersion = errors.New("version printed")

// Options are the flags that both processes have. They keep Flux's names where
// they mean the same (FLUX.md §2.6).
type Options struct {
	Kubeconfig       string
	Namespace        string
	MetricsAddr      string
	HealthAddr       string
	EventsAddr       string
	LogLevel         string
	LogEncoding      string
	KubeAPIQPS       float32
	KubeAPIBurst     int
	GracefulShutdown time.Duration

	LeaderElection                        bool
	LeaderLease, LeaderRenew, LeaderRetry time.Duration
}

// parse reads the command line. It prints help or the version where asked.
func (p Program) parse(args []string) (Options, error) {
	var o Options
	var version bool
	flags := pflag.NewFlagSet(p.Name, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig of the hub; by default $KUBECONFIG, then ~/.kube/config, then the Pod's ServiceAccount")
	flags.StringVar(&o.Namespace, "runtime-namespace", env("RUNTIME_NAMESPACE", "flux-system"), "namespace on the hub that Headwater itself runs in ($RUNTIME_NAMESPACE)")
	flags.StringVar(&o.MetricsAddr, "metrics-addr", ":8080", "address that serves Prometheus metrics; 0 turns it off")
	flags.StringVar(&o.HealthAddr, "health-addr", ":9440", "address that serves /healthz and /readyz")
	flags.StringVar(&o.EventsAddr, "events-addr", "", "URL of a notification controller that events are posted to")
	flags.StringVar(&o.LogLevel, "log-level", "info", "error, info, debug or trace")
	flags.StringVar(&o.LogEncoding, "log-encoding", "json", "json or console")
	flags.Float32Var(&o.KubeAPIQPS, "kube-api-qps", -1, "requests a second to the hub; negative leaves it to the server's priority and fairness")
	flags.IntVar(&o.KubeAPIBurst, "kube-api-burst", 300, "requests to the hub in one burst, where --kube-api-qps limits them")
	flags.DurationVar(&o.GracefulShutdown, "graceful-shutdown-timeout", 60*time.Second, "time for work in flight to end when the process is asked to stop")
	if p.LeaderElection {
		flags.BoolVar(&o.LeaderElection, "enable-leader-election", false, "elect a leader among replicas; the others stand by")
		flags.DurationVar(&o.LeaderLease, "leader-election-lease-duration", 35*time.Second, "time after which a silent leader is replaced")
		flags.DurationVar(&o.LeaderRenew, "leader-election-renew-deadline", 30*time.Second, "time after which a leader that cannot renew gives up")
		flags.DurationVar(&o.LeaderRetry, "leader-election-retry-period", 5*time.Second, "time between two attempts")
	}
	if p.Flags != nil {
		p.Flags(flags)
	}
	flags.BoolVar(&version, "version", false, "print the version and exit")
	flags.Usage = func() {
		fmt.Printf("%s\n\nUsage:\n  %s [flags]\n%s\nFlags:\n%s", p.About, p.Name, p.commandHelp(), flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if version {
		fmt.Println(Version())
		return o, errVersion
	}
	if rest := flags.Args(); len(rest) > 0 {
		return o, fmt.Errorf("unexpected argument %q: see --help", rest[0])
	}
	return o, checkAmounts(flags)
}

// checkAmounts refuses numbers and times that mean nothing. A rate may be negative.
func checkAmounts(flags *pflag.FlagSet) error {
	var wrong []error
	flags.Visit(func(flag *pflag.Flag) {
		amount := slices.Contains([]string{"int", "int64", "duration"}, flag.Value.Type())
		switch value := flag.Value.String(); {
		case amount && strings.HasPrefix(value, "-"):
			wrong = append(wrong, fmt.Errorf("--%s %s: want 0 or more", flag.Name, value))
		case value == "0" && strings.HasPrefix(flag.Name, "concurrent"):
			wrong = append(wrong, fmt.Errorf("--%s 0: want 1 or more", flag.Name))
		}
	})
	return errors.Join(wrong...)
}

func env(name, fallback string) string {
	if value, ok := os.LookupEnv(name); ok {
		return value
	}
	return fallback
}

// Version is the version that the binary was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// setUpLogs makes log lines as FLUX.md §2.6 has them, for all libraries.
func (o Options) setUpLogs() error {
	levels := map[string]zapcore.Level{"error": zapcore.ErrorLevel, "info": zapcore.InfoLevel, "debug": zapcore.DebugLevel, "trace": -2}
	level, ok := levels[o.LogLevel]
	if !ok {
		return fmt.Errorf("--log-level %q: want error, info, debug or trace", o.LogLevel)
	}
	encoder := zap.JSONEncoder(encoding)
	switch o.LogEncoding {
	case "json":
	case "console":
		encoder = zap.ConsoleEncoder(encoding)
	default:
		return fmt.Errorf("--log-encoding %q: want json or console", o.LogEncoding)
	}
	logger := zap.New(encoder, zap.Level(level), zap.StacktraceLevel(zapcore.PanicLevel))
	ctrl.SetLogger(logger)
	klog.SetLogger(quiet(logger))
	takeStandardLog(logger)
	return nil
}

func encoding(config *zapcore.EncoderConfig) {
	config.TimeKey = "ts"
	config.EncodeTime = zapcore.ISO8601TimeEncoder
}

// quiet passes the errors of client-go's own log on, and little else.
func quiet(logger logr.Logger) logr.Logger { return logger.WithName("client-go").V(1) }
