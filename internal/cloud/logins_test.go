package cloud_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

// hub is a namespace of a real API server whose ServiceAccounts the clouds know.
type hub struct {
	*WithT
	t *testing.T
	client.Client
	namespace string
	clock     *testingclock.FakePassiveClock
	logins    *cloud.Logins
}

func newHub(t *testing.T) *hub {
	t.Helper()
	g := NewWithT(t)
	c, err := shared.ControlPlane(t).Client(nil)
	g.Expect(err).NotTo(HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	g.Expect(c.Create(t.Context(), namespace)).To(Succeed())
	h := &hub{WithT: g, t: t, Client: c, namespace: namespace.Name, clock: testingclock.NewFakePassiveClock(time.Now())}
	services.Hub, services.Subject = c, "system:serviceaccount:"+h.namespace+":puller"
	h.logins = &cloud.Logins{Client: c, Live: c, CacheSize: 100, CacheFor: time.Hour, Clock: h.clock}
	h.account("puller")
	return h
}

// account makes a ServiceAccount that says which identities it has at the clouds.
func (h *hub) account(name string) {
	h.t.Helper()
	h.Expect(h.Create(h.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: h.namespace, Name: name, Annotations: map[string]string{
			"eks.amazonaws.com/role-arn":                    clouds.Role,
			"azure.workload.identity/tenant-id":             clouds.Tenant,
			"azure.workload.identity/client-id":             clouds.Client,
			"iam.gke.io/gcp-service-account":                clouds.Email,
			"gcp.auth.fluxcd.io/workload-identity-provider": clouds.Pool,
		},
	}})).To(Succeed())
}

func (h *hub) who(account string) cloud.Identity {
	return cloud.Identity{Namespace: h.namespace, Account: account}
}

// registries are those of each cloud, with who logs in there.
var registries = map[string]struct{ host, user string }{
	cloud.AWS:   {clouds.AmazonRegistry, clouds.AmazonUser},
	cloud.Azure: {"team.azurecr.io", clouds.MicrosoftUser()},
	cloud.GCP:   {"europe-docker.pkg.dev", clouds.GoogleUser},
}

func TestRegistriesByTheIdentityOfAServiceAccount(t *testing.T) {
	h := newHub(t)
	services.Registry("team.azurecr.io", clouds.MicrosoftUser(), nil)
	h.account("intruder")
	for provider, at := range registries {
		purpose := "registry " + at.host
		if provider == cloud.GCP {
			purpose = clouds.GoogleAPI
		}
		login, err := h.logins.Registry(t.Context(), provider, h.who("puller"), at.host+"/team/app")
		h.Expect(err).NotTo(HaveOccurred(), provider)
		h.Expect(login.Username).To(Equal(at.user))
		h.Expect(services.Good(login.Password, purpose)).To(BeTrue(), provider)

		_, err = h.logins.Registry(t.Context(), provider, h.who("intruder"), at.host+"/team/app")
		h.Expect(err).To(MatchError(HavePrefix("spec.provider: provider "+provider+": ")), "the cloud does not know it")
		h.Expect(reasonOf(err)).To(Equal(meta.AuthenticationFailedReason))
		h.Expect(err.Error()).To(And(Not(ContainSubstring("\n")), Not(ContainSubstring("eyJ")), Not(ContainSubstring("token-"))))
		_, again := h.logins.Registry(t.Context(), provider, h.who("intruder"), at.host+"/team/app")
		h.Expect(again).To(MatchError(err.Error()), "the same words at every attempt")
	}
}

func TestOtherTokensOfTheClouds(t *testing.T) {
	h := newHub(t)
	keys, err := h.logins.S3(t.Context(), h.who("puller"), clouds.Region, "")
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect([]bool{services.Good(keys.Username, "id"), services.Good(keys.Password, "key"), services.Good(keys.Token, "session")}).To(HaveEach(true))
	_, err = h.logins.S3(t.Context(), h.who("puller"), clouds.Region, "https://elsewhere.example.com")
	h.Expect(err).To(MatchError(ContainSubstring("spec.sts.endpoint")))
	_, err = h.logins.S3(t.Context(), h.who("puller"), "", "")
	h.Expect(err).To(MatchError(ContainSubstring("an AWS region is required")))

	for provider, purpose := range map[string]string{cloud.Azure: "https://storage.azure.com/.default", cloud.GCP: clouds.GoogleAPI} {
		login, err := h.logins.Blobs(t.Context(), provider, h.who("puller"))
		h.Expect(err).NotTo(HaveOccurred())
		h.Expect(services.Good(login.Token, purpose)).To(BeTrue(), provider)
	}

	repository := func(text string) *url.URL {
		u, err := url.Parse(text)
		h.Expect(err).NotTo(HaveOccurred())
		return u
	}
	login, err := h.logins.Git(t.Context(), cloud.Azure, h.who("puller"), repository("https://dev.azure.com/team/fleet/_git/fleet"))
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(services.Good(login.Token, "499b84ac-1321-427f-aa17-267ca6975798/.default")).To(BeTrue())
	login, err = h.logins.Git(t.Context(), cloud.AWS, h.who("puller"), repository("https://git-codecommit.eu-central-1.amazonaws.com/v1/repos/fleet"))
	h.Expect(err).NotTo(HaveOccurred())
	id, session, _ := strings.Cut(login.Username, "%")
	h.Expect(services.Good(id, "id") && services.Good(session, "session")).To(BeTrue())
	h.Expect(login.Password).To(MatchRegexp(`^\d{8}T\d{6}Z[0-9a-f]{64}$`))
	_, err = h.logins.Git(t.Context(), cloud.AWS, h.who("puller"), repository("https://git.example.com/fleet"))
	h.Expect(err).To(MatchError(ContainSubstring("invalid AWS CodeCommit Git URL")))
	_, err = h.logins.Git(t.Context(), cloud.GCP, h.who("puller"), repository("https://git.example.com/fleet"))
	h.Expect(err).To(MatchError(ContainSubstring(`spec.provider "gcp" gives no logins for Git repositories`)))
}

func TestLoginsAreKept(t *testing.T) {
	h := newHub(t)
	ask := func(who cloud.Identity) string {
		login, err := h.logins.Blobs(t.Context(), cloud.GCP, who)
		h.Expect(err).NotTo(HaveOccurred())
		return login.Token
	}
	first := ask(h.who("puller"))
	h.Expect(ask(h.who("puller"))).To(Equal(first))
	h.clock.SetTime(h.clock.Now().Add(47 * time.Minute))
	h.Expect(ask(h.who("puller"))).To(Equal(first))
	h.clock.SetTime(h.clock.Now().Add(2 * time.Minute))
	second := ask(h.who("puller"))
	h.Expect(second).NotTo(Equal(first), "four fifths of its hour are over")

	login, err := h.logins.Blobs(t.Context(), cloud.GCP, h.who("puller"))
	h.Expect(err).NotTo(HaveOccurred())
	h.logins.Forget(login)
	third := ask(h.who("puller"))
	h.Expect(third).NotTo(Equal(second), "it was refused")

	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "puller"}}
	h.Expect(h.Get(t.Context(), client.ObjectKeyFromObject(account), account)).To(Succeed())
	account.Annotations["iam.gke.io/gcp-service-account"] = "other@team.iam.gserviceaccount.com"
	h.Expect(h.Update(t.Context(), account)).To(Succeed())
	_, err = h.logins.Blobs(t.Context(), cloud.GCP, h.who("puller"))
	h.Expect(err).To(HaveOccurred(), "it is no longer who it was")
	h.Expect(h.Delete(t.Context(), account)).To(Succeed())
	_, err = h.logins.Blobs(t.Context(), cloud.GCP, h.who("puller"))
	h.Expect(err).To(MatchError("spec.serviceAccountName: ServiceAccount " + h.namespace + "/puller: it does not exist"))
	h.account("puller")
	h.Expect(ask(h.who("puller"))).NotTo(Equal(third), "another one of this name")
}

func TestTheProxyOfATenant(t *testing.T) {
	h := newHub(t)
	through := func(host string) error {
		who := h.who("puller")
		who.Proxy = &url.URL{Scheme: "http", Host: host}
		_, err := h.logins.Blobs(t.Context(), cloud.GCP, who)
		return err
	}
	h.Expect(through(strings.TrimPrefix(services.Internet.Proxy, "http://"))).To(Succeed())
	h.Expect(through("127.0.0.1:1")).To(HaveOccurred(), "and the other's login is not used")
}

func TestFewLoginsAreKept(t *testing.T) {
	h := newHub(t)
	h.logins.CacheSize = 1
	asked := services.Asked("google")
	for range 2 {
		_, err := h.logins.Registry(t.Context(), cloud.GCP, h.who("puller"), "europe-docker.pkg.dev/team/app")
		h.Expect(err).NotTo(HaveOccurred())
		_, err = h.logins.Registry(t.Context(), cloud.GCP, h.who("puller"), "europe-docker.pkg.dev/team/other")
		h.Expect(err).NotTo(HaveOccurred())
	}
	h.Expect(services.Asked("google")).To(Equal(asked+1), "one login for the whole registry")
	for range 2 {
		for _, host := range []string{"gcr.io", "eu.gcr.io"} {
			_, err := h.logins.Registry(t.Context(), cloud.GCP, h.who("puller"), host+"/team/app")
			h.Expect(err).NotTo(HaveOccurred())
		}
	}
	h.Expect(services.Asked("google")).To(Equal(asked + 5))
}

func TestDefaultAccount(t *testing.T) {
	h := newHub(t)
	h.Expect(h.logins.Own(h.who(""))).To(BeTrue())
	h.logins.DefaultAccount = "puller"
	h.Expect(h.logins.Own(h.who(""))).To(BeFalse())
	_, err := h.logins.Blobs(t.Context(), cloud.GCP, h.who(""))
	h.Expect(err).NotTo(HaveOccurred())
	h.logins.DefaultAccount = "nobody"
	_, err = h.logins.Blobs(t.Context(), cloud.GCP, h.who(""))
	h.Expect(err).To(MatchError("spec.serviceAccountName: ServiceAccount " + h.namespace + "/nobody: which --default-service-account names: it does not exist"))
}

func TestTheProcessItself(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("AWS_ACCESS_KEY_ID", clouds.OwnID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", clouds.OwnKey)
	t.Setenv("AWS_REGION", clouds.Region)
	t.Setenv("AZURE_TENANT_ID", clouds.Tenant)
	t.Setenv("AZURE_CLIENT_ID", clouds.Client)
	t.Setenv("AZURE_CLIENT_SECRET", clouds.ClientSecret)
	services.Registry("team.azurecr.io", clouds.MicrosoftUser(), nil)
	// Nobody listens there: it is not asked.
	tenants := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	for _, provider := range []string{cloud.AWS, cloud.Azure} {
		at := registries[provider]
		login, err := new(cloud.Logins).Registry(t.Context(), provider, cloud.Identity{Namespace: "team", Proxy: tenants}, at.host+"/team/app")
		g.Expect(err).NotTo(HaveOccurred(), provider)
		g.Expect(services.Good(login.Password, "registry "+at.host)).To(BeTrue(), provider)
	}
	_, err := new(cloud.Logins).Registry(t.Context(), cloud.AWS, cloud.Identity{Namespace: "team"}, "registry.example.com/team/app")
	g.Expect(err).To(MatchError(ContainSubstring("invalid AWS registry: 'registry.example.com'")))
}

// TestTheTokenOfTheHubGoesToAmazonAlone: whoever has it is the hub at Amazon.
func TestTheTokenOfTheHubGoesToAmazonAlone(t *testing.T) {
	h := newHub(t)
	file := filepath.Join(t.TempDir(), "token")
	h.Expect(os.WriteFile(file, []byte("the token of the hub's Pod"), 0o600)).To(Succeed())
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_ROLE_ARN": clouds.Role, "AWS_WEB_IDENTITY_TOKEN_FILE": file,
	} {
		t.Setenv(name, value)
	}
	var got []string
	listener := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.FormValue("WebIdentityToken"))
		w.WriteHeader(http.StatusForbidden)
	})
	for _, host := range []string{"evil.example.com", "sts.s3.amazonaws.com"} {
		services.Internet.Host(host, listener)
	}
	for _, endpoint := range []string{
		"https://evil.example.com/x.sts.amazonaws.com", "https://evil.example.com?x.sts.amazonaws.com", "https://evil.example.com#x.sts.amazonaws.com",
		"https://sts.amazonaws.com@evil.example.com/x.sts.amazonaws.com", "https://evil.example.com:443/x.sts.amazonaws.com",
		"http://sts.amazonaws.com", "https://sts.eu-central-1.amazonaws.com:8443", "https://sts.eu-central-1.amazonaws.com/elsewhere",
		"https://sts.s3.amazonaws.com", "https://%zz.sts.amazonaws.com", "https://-",
	} {
		for _, account := range []string{"", "puller"} {
			_, err := h.logins.S3(t.Context(), h.who(account), clouds.Region, endpoint)
			h.Expect(err).To(MatchError(HavePrefix("spec.sts.endpoint: ")), endpoint)
		}
	}
	h.Expect(got).To(BeEmpty())

	_, err := h.logins.S3(t.Context(), h.who("puller"), clouds.Region, "https://sts.eu-central-1.amazonaws.com")
	h.Expect(err).NotTo(HaveOccurred())
	for _, host := range []string{"vpce-0a1b-2c.sts.eu-central-1.vpce.amazonaws.com", "sts-fips.us-gov-west-1.amazonaws.com"} {
		services.Internet.Host(host, listener)
		_, err := h.logins.S3(t.Context(), h.who(""), clouds.Region, "https://"+host)
		h.Expect(err).To(MatchError(HavePrefix("spec.provider: ")), "it refuses all")
	}
	h.Expect(got).To(HaveLen(2))
	h.Expect(got).To(HaveEach("the token of the hub's Pod"))
}

func TestAnAnswerWithoutKeysIsAnError(t *testing.T) {
	h := newHub(t)
	for region, keys := range map[string]string{
		"us-east-1": "<SecretAccessKey>hunter2</SecretAccessKey><SessionToken>s</SessionToken>",
		"us-east-2": "<AccessKeyId>id</AccessKeyId><SessionToken>s</SessionToken>",
		"us-west-2": "<AccessKeyId>id</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey>",
	} {
		services.Internet.Host("sts."+region+".amazonaws.com", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>`+keys+
				`<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
		}))
		_, err := h.logins.S3(t.Context(), h.who("puller"), region, "")
		h.Expect(err).To(MatchError("spec.provider: provider aws: it gave keys that are not complete"))
	}
}

func reasonOf(err error) string {
	reason, _ := reconcile.ReasonOf(err)
	return reason
}
