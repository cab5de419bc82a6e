package remote

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const assumed = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>AKIDOFTHEROLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2036-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`

const refused = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error><RequestId>%d</RequestId></ErrorResponse>`

// tokenService is the part of AWS STS that exchanges a token of the hub. It asks
// the hub whether the token is one, as AWS verifies its signature.
type tokenService struct {
	aws.Implementation
	hub     client.Client
	address string
	trusts  string
	asked   int
}

func (s *tokenService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked++
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{
		Token: r.FormValue("WebIdentityToken"), Audiences: []string{"sts.amazonaws.com"},
	}}
	err := s.hub.Create(r.Context(), review)
	if err != nil || !review.Status.Authenticated || review.Status.User.Username != s.trusts || r.FormValue("RoleArn") != "arn:aws:iam::123456789012:role/deployer" {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, refused, s.asked)
		return
	}
	fmt.Fprint(w, assumed)
}

// AssumeRoleWithWebIdentity asks this server instead of Amazon's.
func (s *tokenService) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, o sts.Options) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	o.BaseEndpoint = &s.address
	return sts.New(o).AssumeRoleWithWebIdentity(ctx, in)
}

// PresignGetCallerIdentity signs as the library does: nothing is sent.
func (*tokenService) PresignGetCallerIdentity(ctx context.Context, with func(*sts.PresignOptions), o sts.Options) (*signer.PresignedHTTPRequest, error) {
	return sts.NewPresignClient(sts.New(o)).PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, with)
}

func TestAClusterOfACloudByWorkloadIdentity(t *testing.T) {
	f := newFleet(t)
	service := &tokenService{hub: f.hub, trusts: "system:serviceaccount:" + f.namespace + ":deployer"}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	service.address = server.URL
	for _, account := range []string{"deployer", "intruder"} {
		f.Expect(f.hub.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: f.namespace, Name: account, Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/deployer"},
		}})).To(Succeed())
	}
	c := &Clusters{Client: f.hub, Live: f.hub, providers: map[string]auth.RESTConfigProvider{"aws": aws.Provider{Implementation: service}}}
	data := map[string]string{
		"provider": "aws", "cluster": "arn:aws:eks:eu-central-1:123456789012:cluster/prod",
		"address": "https://prod.example.com", "ca.crt": "a certificate", "serviceAccountName": "deployer",
	}
	config, err := c.workloadConfig(t.Context(), f.namespace, data)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(config.Host).To(Equal("https://prod.example.com"))
	f.Expect(string(config.CAData)).To(Equal("a certificate"))
	signed, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(config.BearerToken, "k8s-aws-v1."))
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(string(signed)).To(And(ContainSubstring("Action=GetCallerIdentity"), ContainSubstring("AKIDOFTHEROLE"), ContainSubstring("x-k8s-aws-id")))

	data["serviceAccountName"] = "intruder"
	_, err = c.workloadConfig(t.Context(), f.namespace, data)
	f.Expect(err).To(MatchError(And(HavePrefix("provider aws: "), ContainSubstring("Not authorized to perform"))))
	_, again := c.workloadConfig(t.Context(), f.namespace, data)
	f.Expect(again).To(MatchError(err.Error()), "the same words at every attempt")
	f.Expect(service.asked).To(Equal(3))
}

func TestSettingsOfClouds(t *testing.T) {
	for name, tc := range map[string]struct {
		data map[string]string
		own  bool
		want string
	}{
		"another provider": {data: map[string]string{"provider": "other"}, want: `data key provider is "other": want generic, aws, azure, gcp`},
		"no cluster":       {data: map[string]string{"provider": "gcp", "serviceAccountName": "x"}, want: "data key cluster is missing"},
		"plain HTTP":       {data: map[string]string{"provider": "gcp", "serviceAccountName": "x", "cluster": "c", "address": "http://c"}, want: "data key address is"},
		"no account":       {data: map[string]string{"provider": "azure", "cluster": "c"}, want: "data key serviceAccountName is missing"},
		"own identity to an address of a tenant's": {
			data: map[string]string{"provider": "azure", "cluster": "c", "address": "https://c"}, own: true,
			want: "data key address needs serviceAccountName",
		},
		"bad audiences": {data: map[string]string{"provider": "azure", "cluster": "c", "serviceAccountName": "x", "audiences": "- {a: b}"}, want: "data key audiences"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := &Clusters{providers: clouds(), AllowOwnIdentity: tc.own}
			_, err := c.workloadConfig(t.Context(), "ns", tc.data)
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(isConfigError(err)).To(BeTrue(), "somebody has to mend it")
		})
	}
}
