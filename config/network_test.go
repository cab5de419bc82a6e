package config_test

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// peer is who connects: a Pod, or an address outside of the cluster where there
// is no namespace.
type peer struct {
	namespace string
	labels    labels.Set
}

// network is what config/default says of connections: its NetworkPolicies, and
// the Pods that they are about.
type network struct {
	*WithT
	policies []networkingv1.NetworkPolicy
	pods     map[string]corev1.PodTemplateSpec
}

func newNetwork(t *testing.T) network {
	n := network{WithT: NewWithT(t), pods: map[string]corev1.PodTemplateSpec{}}
	for _, object := range build(t, "default") {
		switch content := []byte(object.MustYaml()); object.GetKind() {
		case "NetworkPolicy":
			var policy networkingv1.NetworkPolicy
			n.Expect(yaml.UnmarshalStrict(content, &policy)).To(Succeed())
			n.Expect(policy.Namespace).To(Equal("flux-system"))
			n.policies = append(n.policies, policy)
		case "Deployment":
			var hub appsv1.Deployment
			n.Expect(yaml.UnmarshalStrict(content, &hub)).To(Succeed())
			n.pods["hub"] = hub.Spec.Template
		case "StatefulSet":
			var agent appsv1.StatefulSet
			n.Expect(yaml.UnmarshalStrict(content, &agent)).To(Succeed())
			n.pods["agent"] = agent.Spec.Template
		}
	}
	return n
}

func (n network) selects(selector *metav1.LabelSelector, set labels.Set) bool {
	chosen, err := metav1.LabelSelectorAsSelector(selector)
	n.Expect(err).NotTo(HaveOccurred())
	return chosen.Matches(set)
}

// port is the number of a port of hub or agent that its container names.
func (n network) port(pod, name string) intstr.IntOrString {
	for _, port := range n.pods[pod].Spec.Containers[0].Ports {
		if port.Name == name {
			return intstr.FromInt32(port.ContainerPort)
		}
	}
	n.Expect(name).To(BeEmpty(), "a port of "+pod)
	return intstr.IntOrString{}
}

// reaches says whether the policies let the peer connect to a port of hub or
// agent.
func (n network) reaches(from peer, pod, port string) bool {
	isolated := false
	for _, policy := range n.policies {
		if !n.selects(&policy.Spec.PodSelector, n.pods[pod].Labels) {
			continue
		}
		isolated = true
		for _, rule := range policy.Spec.Ingress {
			if n.from(rule.From, from) && n.to(rule.Ports, n.port(pod, port)) {
				return true
			}
		}
	}
	return !isolated
}

func (n network) from(allowed []networkingv1.NetworkPolicyPeer, from peer) bool {
	for _, one := range allowed {
		n.Expect(one.IPBlock).To(BeNil(), "not understood here")
		same := one.NamespaceSelector == nil && from.namespace == "flux-system"
		other := one.NamespaceSelector != nil && from.namespace != "" &&
			n.selects(one.NamespaceSelector, labels.Set{corev1.LabelMetadataName: from.namespace})
		if (same || other) && (one.PodSelector == nil || n.selects(one.PodSelector, from.labels)) {
			return true
		}
	}
	return len(allowed) == 0
}

func (n network) to(allowed []networkingv1.NetworkPolicyPort, port intstr.IntOrString) bool {
	for _, one := range allowed {
		if *one.Protocol == corev1.ProtocolTCP && *one.Port == port {
			return true
		}
	}
	return len(allowed) == 0
}

// TestWhoMayReachWhat: the artifacts of all tenants lie at the hub's port http,
// which asks for no credential.
func TestWhoMayReachWhat(t *testing.T) {
	n := newNetwork(t)
	agent := peer{"flux-system", n.pods["agent"].Labels}
	watcher := peer{"flux-system", labels.Set{"app": "source-watcher"}}
	tenant := peer{"team-a", labels.Set{"app": "headwater-agent"}}
	prometheus := peer{"monitoring", labels.Set{"app": "prometheus"}}
	outside := peer{}
	for _, tc := range []struct {
		why       string
		from      peer
		pod, port string
		want      bool
	}{
		{"agents download artifacts", agent, "hub", "http", true},
		{"and so do Flux's own that stay beside them", watcher, "hub", "http", true},
		{"a tenant may not read what others have", tenant, "hub", "http", false},
		{"nor may anybody outside", outside, "hub", "http", false},
		{"agents elsewhere show a token", outside, "hub", "artifacts-tls", true},
		{"also if elsewhere is a Pod here", tenant, "hub", "artifacts-tls", true},
		{"metrics are scraped", prometheus, "hub", "http-prom", true},
		{"metrics are scraped", prometheus, "agent", "http-prom", true},
		{"by Pods of the cluster", outside, "hub", "http-prom", false},
		{"probes are the kubelet's, which no policy stops", tenant, "hub", "healthz", false},
		{"probes are the kubelet's, which no policy stops", tenant, "agent", "healthz", false},
	} {
		n.Expect(n.reaches(tc.from, tc.pod, tc.port)).To(Equal(tc.want), "%s: %v to %s of %s", tc.why, tc.from, tc.port, tc.pod)
	}
}

// TestHubAndAgentsReachEverything: repositories, registries, API servers and
// clouds are anywhere.
func TestHubAndAgentsReachEverything(t *testing.T) {
	n := newNetwork(t)
	for name, pod := range n.pods {
		open := false
		for _, policy := range n.policies {
			if n.selects(&policy.Spec.PodSelector, pod.Labels) {
				open = open || len(policy.Spec.Egress) == 1 && len(policy.Spec.Egress[0].To)+len(policy.Spec.Egress[0].Ports) == 0
			}
		}
		n.Expect(open).To(BeTrue(), name)
	}
}

// TestPoliciesLeaveOthersAlone: what else runs in the namespace, such as Flux's
// notification-controller with its webhooks, is reached as before.
func TestPoliciesLeaveOthersAlone(t *testing.T) {
	n := newNetwork(t)
	n.Expect(n.policies).NotTo(BeEmpty())
	for _, policy := range n.policies {
		n.Expect(n.selects(&policy.Spec.PodSelector, labels.Set{"app": "notification-controller"})).To(BeFalse(), policy.Name)
	}
}
