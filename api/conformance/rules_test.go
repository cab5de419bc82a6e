package conformance

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// broken is a change to the sample of a kind that breaks one rule.
type broken struct {
	kind string
	// changes are values by their paths; nil takes the field away.
	changes map[string]any
	field   string
	message string
}

type fields = map[string]any

var rules = []broken{
	{"GitRepository", fields{"spec.serviceAccountName": "git"}, "spec",
		"serviceAccountName can only be set when provider is 'azure' or 'aws'"},
	{"HelmChart", fields{"spec.sourceRef.kind": "Bucket", "spec.verify.provider": "cosign"}, "spec",
		"spec.verify is only supported when spec.sourceRef.kind is 'HelmRepository'"},
	{"Bucket", fields{"spec.provider": "gcp", "spec.sts": fields{"provider": "aws", "endpoint": "https://sts.example.com"}}, "spec",
		"STS configuration is only supported for the 'aws' and 'generic' Bucket providers"},
	{"Bucket", fields{"spec.provider": "aws", "spec.sts": fields{"provider": "ldap", "endpoint": "https://sts.example.com"}}, "spec",
		"'aws' is the only supported STS provider for the 'aws' Bucket provider"},
	{"Bucket", fields{"spec.sts": fields{"provider": "aws", "endpoint": "https://sts.example.com"}}, "spec",
		"'ldap' is the only supported STS provider for the 'generic' Bucket provider"},
	{"Bucket", fields{"spec.provider": "aws", "spec.sts": fields{"provider": "aws", "endpoint": "https://sts.example.com",
		"secretRef": fields{"name": "sts"}}}, "spec",
		"spec.sts.secretRef is not required for the 'aws' STS provider"},
	{"Bucket", fields{"spec.provider": "aws", "spec.sts": fields{"provider": "aws", "endpoint": "https://sts.example.com",
		"certSecretRef": fields{"name": "sts"}}}, "spec",
		"spec.sts.certSecretRef is not required for the 'aws' STS provider"},
	{"Bucket", fields{"spec.secretRef": nil, "spec.serviceAccountName": "bucket"}, "spec",
		"ServiceAccountName is not supported for the 'generic' Bucket provider"},
	{"Bucket", fields{"spec.provider": "aws", "spec.serviceAccountName": "bucket"}, "spec",
		"cannot set both .spec.secretRef and .spec.serviceAccountName"},
	{"Kustomization", fields{"spec.kubeConfig.secretRef": nil}, "spec.kubeConfig",
		"exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"},
	{"Kustomization", fields{"spec.kubeConfig.configMapRef.name": "cloud"}, "spec.kubeConfig",
		"exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"},
	{"HelmRelease", fields{"spec.kubeConfig.secretRef": nil}, "spec.kubeConfig",
		"exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"},
	{"HelmRelease", fields{"spec.kubeConfig.configMapRef.name": "cloud"}, "spec.kubeConfig",
		"exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"},
	{"HelmRelease", fields{"spec.chart": nil}, "spec",
		"either chart or chartRef must be set"},
	{"HelmRelease", fields{"spec.chartRef": fields{"kind": "HelmChart", "name": "redis"}}, "spec",
		"either chart or chartRef must be set"},
	{"HelmRelease", fields{"spec.install.strategy": fields{"name": "RemediateOnFailure", "retryInterval": "1m"}}, "spec.install.strategy",
		".retryInterval cannot be set when .name is 'RemediateOnFailure'"},
	{"HelmRelease", fields{"spec.upgrade.strategy": fields{"name": "RemediateOnFailure", "retryInterval": "1m"}}, "spec.upgrade.strategy",
		".retryInterval can only be set when .name is 'RetryOnFailure'"},
	{"ImagePolicy", fields{"spec.interval": "1m"}, "spec",
		"spec.interval is only accepted when spec.digestReflectionPolicy is set to 'Always'"},
	{"ImagePolicy", fields{"spec.digestReflectionPolicy": "Always"}, "spec",
		"spec.interval must be set when spec.digestReflectionPolicy is set to 'Always'"},
	{"RemoteCluster", fields{"spec.kubeConfig": nil}, "spec",
		"exactly one of spec.kubeConfig and spec.clusterRef must be set when spec.mode is Push"},
	{"RemoteCluster", fields{"spec.clusterRef.name": "prod-eu"}, "spec",
		"exactly one of spec.kubeConfig and spec.clusterRef must be set when spec.mode is Push"},
	{"RemoteCluster", fields{"spec.mode": "Pull"}, "spec",
		"spec.kubeConfig and spec.clusterRef can only be set when spec.mode is Push"},
	{"RemoteCluster", fields{"spec.mode": "Hub", "spec.kubeConfig": nil, "spec.clusterRef.name": "hub"}, "spec",
		"spec.kubeConfig and spec.clusterRef can only be set when spec.mode is Push"},
	{"RemoteCluster", fields{"spec.kubeConfig.secretRef": nil}, "spec.kubeConfig",
		"exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"},
	{"RemoteCluster", fields{"spec.kubeConfig.configMapRef.name": "cloud"}, "spec.kubeConfig",
		"exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"},
}

func TestEveryRuleAcrossFieldsRefuses(t *testing.T) {
	c := kube(t)
	for _, rule := range rules {
		t.Run(rule.kind+" "+rule.message, func(t *testing.T) {
			g := NewWithT(t)
			bad := changed(sample(g, rule.kind), rule.changes)
			err := c.Create(t.Context(), bad, client.DryRunAll)
			g.Expect(err).To(MatchError(ContainSubstring("%s: Invalid value: ", rule.field)))
			g.Expect(err).To(MatchError(ContainSubstring(rule.message)))
		})
	}
}

func TestEveryRuleHasACase(t *testing.T) {
	g := NewWithT(t)
	cases := map[string]int{}
	for _, rule := range rules {
		cases[rule.kind+" "+rule.message]++
	}
	for _, crd := range readCRDs(g, bases) {
		for _, p := range properties(storage(crd).Schema.OpenAPIV3Schema) {
			for _, rule := range p.schema.XValidations {
				name := crd.Spec.Names.Kind + " " + rule.Message
				g.Expect(cases[name]).To(BeNumerically(">", 0), "a case is missing: %s: %s", name, rule.Rule)
				cases[name]--
			}
		}
	}
}

// What the rules leave open is accepted.
func TestRulesAcceptWhatIsRight(t *testing.T) {
	c := kube(t)
	for name, right := range map[string]broken{
		"Git with workload identity":   {kind: "GitRepository", changes: fields{"spec.provider": "azure", "spec.serviceAccountName": "git"}},
		"a bucket's own STS":           {kind: "Bucket", changes: fields{"spec.sts": fields{"provider": "ldap", "endpoint": "https://sts.example.com", "secretRef": fields{"name": "sts"}}}},
		"a bucket's workload identity": {kind: "Bucket", changes: fields{"spec.provider": "gcp", "spec.secretRef": nil, "spec.serviceAccountName": "bucket"}},
		"a signed chart":               {kind: "HelmChart", changes: fields{"spec.verify.provider": "notation"}},
		"a chart by reference":         {kind: "HelmRelease", changes: fields{"spec.chart": nil, "spec.chartRef": fields{"kind": "OCIRepository", "name": "redis"}}},
		"retries of an install":        {kind: "HelmRelease", changes: fields{"spec.install.strategy": fields{"name": "RetryOnFailure", "retryInterval": "1m"}}},
		"retries of an upgrade":        {kind: "HelmRelease", changes: fields{"spec.upgrade.strategy": fields{"name": "RetryOnFailure", "retryInterval": "1m"}}},
		"the hub as a target":          {kind: "Kustomization", changes: fields{"spec.kubeConfig": nil}},
		"a cloud's cluster":            {kind: "Kustomization", changes: fields{"spec.kubeConfig": fields{"configMapRef": fields{"name": "cloud"}}}},
		"digests looked up":            {kind: "ImagePolicy", changes: fields{"spec.digestReflectionPolicy": "Always", "spec.interval": "10m"}},
		"a Cluster API cluster":        {kind: "RemoteCluster", changes: fields{"spec.kubeConfig": nil, "spec.clusterRef.name": "prod-eu"}},
		"a pull cluster":               {kind: "RemoteCluster", changes: fields{"spec.kubeConfig": nil, "spec.mode": "Pull"}},
		"the hub's own record":         {kind: "RemoteCluster", changes: fields{"spec.kubeConfig": nil, "spec.mode": "Hub"}},
		"no spec at all":               {kind: "Kustomization", changes: fields{"spec": nil}},
		"a pool with nothing in it":    {kind: "AgentPool", changes: fields{"spec": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(c.Create(t.Context(), changed(sample(g, right.kind), right.changes), client.DryRunAll)).To(Succeed())
		})
	}
}

func TestUnknownFieldsAreRefused(t *testing.T) {
	c := kube(t)
	for kind := range served {
		t.Run(kind, func(t *testing.T) {
			g := NewWithT(t)
			u := changed(sample(g, kind), fields{"spec.nonsense": "x"})
			g.Expect(c.Create(t.Context(), u, client.DryRunAll)).To(MatchError(ContainSubstring(`unknown field "spec.nonsense"`)))
		})
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	c := kube(t)
	for name, want := range map[string]struct {
		kind string
		of   fields
		want fields
	}{
		"Git":         {"GitRepository", fields{"spec.verify.secretRef.name": "keys"}, fields{"spec.timeout": "60s", "spec.verify.mode": "HEAD", "spec.provider": nil, "status.observedGeneration": int64(-1)}},
		"OCI":         {"OCIRepository", nil, fields{"spec.timeout": "60s", "spec.provider": "generic", "status.observedGeneration": int64(-1)}},
		"Helm index":  {"HelmRepository", nil, fields{"spec.timeout": nil, "spec.provider": "generic", "status.observedGeneration": int64(-1)}},
		"chart":       {"HelmChart", fields{"spec.version": nil}, fields{"spec.version": "*", "spec.reconcileStrategy": "ChartVersion", "status.observedGeneration": int64(-1)}},
		"bucket":      {"Bucket", fields{"spec.provider": nil}, fields{"spec.timeout": "60s", "spec.provider": "generic", "status.observedGeneration": int64(-1)}},
		"artifact":    {"ExternalArtifact", nil, fields{"status": nil}},
		"target":      {"Kustomization", fields{"spec.validation": nil}, fields{"spec.force": false, "spec.validation": nil, "spec.timeout": "3m", "status.observedGeneration": int64(-1)}},
		"release":     {"HelmRelease", fields{"spec.uninstall": fields{}}, fields{"spec.uninstall.deletionPropagation": "background", "spec.timeout": nil, "status.observedGeneration": int64(-1)}},
		"scan":        {"ImageRepository", nil, fields{"spec.exclusionList": []any{`^.*\.sig$`}, "spec.provider": "generic", "status.observedGeneration": int64(-1)}},
		"choice":      {"ImagePolicy", fields{"spec.digestReflectionPolicy": nil, "spec.policy": fields{"numerical": fields{}}}, fields{"spec.digestReflectionPolicy": "Never", "spec.policy.numerical.order": "asc", "status.observedGeneration": int64(-1)}},
		"automation":  {"ImageUpdateAutomation", fields{"spec.update": nil}, fields{"spec.update.strategy": "Setters", "status.observedGeneration": int64(-1)}},
		"cluster":     {"RemoteCluster", fields{"spec.lostPolicy": nil}, fields{"spec.mode": "Push", "spec.lostPolicy.action": "Orphan", "spec.lostPolicy.after": "1h"}},
		"agent pool":  {"AgentPool", fields{"spec.placement": nil}, fields{"spec.placement": nil}},
		"cluster ref": {"RemoteCluster", fields{"spec.kubeConfig": nil, "spec.clusterRef.name": "prod"}, fields{"spec.clusterRef.kind": "Cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			u := changed(sample(g, want.kind), want.of)
			g.Expect(c.Create(t.Context(), u, client.DryRunAll)).To(Succeed())
			for path, value := range want.want {
				got, found, err := unstructured.NestedFieldNoCopy(u.Object, strings.Split(path, ".")...)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(found).To(Equal(value != nil), path)
				if found {
					g.Expect(got).To(Equal(value), path)
				}
			}
		})
	}
}

func changed(u *unstructured.Unstructured, changes fields) *unstructured.Unstructured {
	u.SetName("changed")
	content := any(u.Object)
	for path, to := range changes {
		if to == nil {
			to = absent{}
		}
		content = set(content, strings.Split(path, "."), to)
	}
	return &unstructured.Unstructured{Object: content.(fields)}
}
