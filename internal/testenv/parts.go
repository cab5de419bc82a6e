package testenv

import (
	"fmt"
	"os"
	"strings"
)

// controllers that run in the controller manager: what workloads need to
// become ready and to be cleaned up. None that judges nodes (the Kubelet here
// sends no heartbeats) or removes pods on its own.
func controllers() []string {
	return []string{
		"clusterrole-aggregation-controller", // fills the admin, edit and view roles
		"cronjob-controller",
		"daemonset-controller",
		"deployment-controller",
		"disruption-controller",
		"endpoints-controller",
		"endpointslice-controller",
		"garbage-collector-controller",
		"job-controller",
		"namespace-controller",
		"replicaset-controller",
		"root-ca-certificate-publisher-controller",
		"serviceaccount-controller",
		"serviceaccount-token-controller",
		"statefulset-controller",
	}
}

// Files of a control plane's directory.
const (
	caFile                = "ca.crt"
	servingCertFile       = "server.crt"
	servingKeyFile        = "server.key"
	tokenKeyFile          = "token.key"
	tokenPublicFile       = "token.pub"
	managerKubeconfigFile = "controller-manager.kubeconfig"
	etcdSocket            = "etcd.sock"
	etcdPeerSocket        = "peer.sock"
)

// writeCredentials makes the keys that the parts read from files.
func (c *ControlPlane) writeCredentials() error {
	private, public, err := newSigningKeys()
	if err != nil {
		return err
	}
	kubeconfig, err := c.UserKubeconfig("system:kube-controller-manager", "system:masters")
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		caFile:                c.authority.pem,
		servingCertFile:       c.serving.certificate,
		servingKeyFile:        c.serving.key,
		tokenKeyFile:          private,
		tokenPublicFile:       public,
		managerKubeconfigFile: kubeconfig,
	} {
		if err := os.WriteFile(c.dir.file(name), content, 0o600); err != nil {
			return fmt.Errorf("writing the control plane's credentials: %w", err)
		}
	}
	return nil
}

// etcdArgs: over Unix sockets, so that it takes no port, and without fsync: a
// power cut is not among the faults that are tested.
func (c *ControlPlane) etcdArgs() []string {
	// A single member never calls itself, but etcd wants addresses of this form.
	const unused = "http://127.0.0.1:1"
	return []string{
		"--data-dir=" + c.dir.file("etcd"),
		"--listen-client-urls=unix://" + c.dir.file(etcdSocket), "--advertise-client-urls=" + unused,
		"--listen-peer-urls=unix://" + c.dir.file(etcdPeerSocket), "--initial-advertise-peer-urls=" + unused,
		"--initial-cluster=default=" + unused,
		"--unsafe-no-fsync=true",
		"--log-level=warn",
	}
}

func (c *ControlPlane) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=unix://" + c.dir.file(etcdSocket),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.port.number),
		"--permit-port-sharing=true", // beside the socket that reserves the port
		"--tls-cert-file=" + c.dir.file(servingCertFile),
		"--tls-private-key-file=" + c.dir.file(servingKeyFile),
		"--client-ca-file=" + c.dir.file(caFile),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.dir.file(tokenPublicFile),
		"--service-account-signing-key-file=" + c.dir.file(tokenKeyFile),
		"--service-cluster-ip-range=10.0.0.0/16",
		"--endpoint-reconciler-type=none", // nothing reaches it through the Service
		"--allow-privileged=true",
		"--profiling=false",
		"--etcd-count-metric-poll-period=0", "--etcd-db-metric-poll-interval=0",
	}
	if !c.options.ControllerManager {
		// Nobody makes the ServiceAccounts that this would ask of every pod.
		args = append(args, "--disable-admission-plugins=ServiceAccount")
	}
	return args
}

func (c *ControlPlane) controllerManagerArgs() []string {
	return []string{
		"--kubeconfig=" + c.dir.file(managerKubeconfigFile),
		"--controllers=" + strings.Join(controllers(), ","),
		"--leader-elect=false",
		"--secure-port=0",
		"--service-account-private-key-file=" + c.dir.file(tokenKeyFile),
		"--root-ca-file=" + c.dir.file(caFile),
		"--kube-api-qps=500", "--kube-api-burst=1000", // throttled, it would be what is measured
		"--profiling=false",
	}
}
