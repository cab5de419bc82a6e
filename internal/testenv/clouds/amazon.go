package clouds

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	// Region is the one that Amazon has.
	Region = "eu-central-1"
	// Role is what the subject may assume there.
	Role = "arn:aws:iam::123456789012:role/puller"
	// AmazonRegistry is where its registries are.
	AmazonRegistry = "123456789012.dkr.ecr." + Region + ".amazonaws.com"
	// AmazonPublic is where those are that everybody may read.
	AmazonPublic = "public.ecr.aws"
	// AmazonUser logs in at those.
	AmazonUser = "AWS"

	// OwnID is that of the process's own key at Amazon, for AWS_ACCESS_KEY_ID.
	OwnID = "AKIAOWN"
	// OwnKey is the key, for AWS_SECRET_ACCESS_KEY.
	OwnKey = "the-process's-own-key"
)

// amazonKey is the secret of a key, and the token of its session.
type amazonKey struct{ secret, session string }

func (c *Clouds) amazon() {
	c.Internet.Host("sts."+Region+".amazonaws.com", http.HandlerFunc(c.assumeRole))
	c.Internet.Host("api.ecr."+Region+".amazonaws.com", http.HandlerFunc(c.authorizationToken))
	c.Internet.Host("api.ecr-public.us-east-1.amazonaws.com", http.HandlerFunc(c.publicAuthorizationToken))
}

const assumed = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`

const notAssumed = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error><RequestId>%d</RequestId></ErrorResponse>`

func (c *Clouds) assumeRole(w http.ResponseWriter, r *http.Request) {
	c.ask("sts")
	if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("RoleArn") != Role ||
		!c.trusts(r.Context(), r.FormValue("WebIdentityToken"), "sts.amazonaws.com") {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, notAssumed, c.Asked("sts"))
		return
	}
	id, key := c.giveKey()
	_, _ = fmt.Fprintf(w, assumed, id, key.secret, key.session, time.Now().Add(lifetime).UTC().Format(time.RFC3339))
}

// giveKey makes a key, and returns its ID as well.
func (c *Clouds) giveKey() (id string, key amazonKey) {
	id, key = c.give("id"), amazonKey{c.give("key"), c.give("session")}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys[id] = key
	return id, key
}

func (c *Clouds) authorizationToken(w http.ResponseWriter, r *http.Request) {
	if token, ok := c.authorized(w, r, "/"+Region+"/ecr/", AmazonRegistry); ok {
		token["proxyEndpoint"] = "https://" + AmazonRegistry
		answer(w, map[string]any{"authorizationData": []any{token}})
	}
}

// publicAuthorizationToken is the same for the public registries, all of which are
// in one region.
func (c *Clouds) publicAuthorizationToken(w http.ResponseWriter, r *http.Request) {
	if token, ok := c.authorized(w, r, "/us-east-1/ecr-public/", AmazonPublic); ok {
		answer(w, map[string]any{"authorizationData": token})
	}
}

// authorized gives a token for the registry, if the request is signed for that
// region and service.
func (c *Clouds) authorized(w http.ResponseWriter, r *http.Request, scope, registry string) (map[string]any, bool) {
	c.ask("ecr")
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if !c.Signed(r) || !strings.Contains(r.Header.Get("Authorization"), scope) || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetAuthorizationToken") {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"__type": "UnrecognizedClientException", "message": "The security token included in the request is invalid."})
		return nil, false
	}
	token := base64.StdEncoding.EncodeToString([]byte(AmazonUser + ":" + c.give("registry "+registry)))
	return map[string]any{"authorizationToken": token, "expiresAt": time.Now().Add(lifetime).Unix()}, true
}

// CodeCommit says whether the request to a Git repository of Amazon's is by a key
// that is known: the password is a signature of the repository's address.
func (c *Clouds) CodeCommit(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	id, session, _ := strings.Cut(user, "%")
	key, known := c.key(id)
	at, signed, found := strings.Cut(password, "Z")
	when, err := time.Parse("20060102T150405", at)
	path := strings.TrimSuffix(strings.TrimSuffix(r.URL.Path, "/info/refs"), "/git-upload-pack")
	if !known || key.session != session || !found || err != nil || time.Since(when).Abs() > lifetime/4 {
		return false
	}
	sum := sha256.Sum256([]byte("GIT\n" + path + "\n\nhost:" + r.Host + "\n\nhost\n"))
	scope := []string{when.Format("20060102"), Region, "codecommit", "aws4_request"}
	by := []byte("AWS4" + key.secret)
	for _, part := range append(scope, "AWS4-HMAC-SHA256\n"+at+"\n"+strings.Join(scope, "/")+"\n"+hex.EncodeToString(sum[:])) {
		h := hmac.New(sha256.New, by)
		_, _ = h.Write([]byte(part)) // never fails
		by = h.Sum(nil)
	}
	return signed == hex.EncodeToString(by)
}

// key is the one of an ID: the process's own, or one that was given.
func (c *Clouds) key(id string) (amazonKey, bool) {
	if id == OwnID {
		return amazonKey{secret: OwnKey}, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key, ok := c.keys[id]
	return key, ok
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=`)

// Signed says whether the request is signed as Amazon asks (Signature Version 4)
// by a key that is the process's own or was given. The body can be read after.
func (c *Clouds) Signed(r *http.Request) bool {
	said := r.Header.Get("Authorization")
	parts := authorization.FindStringSubmatch(said)
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if parts == nil || err != nil {
		return false
	}
	key, ok := c.key(parts[1])
	body, err := io.ReadAll(r.Body)
	if !ok || err != nil || r.Header.Get("X-Amz-Security-Token") != key.session {
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	again := r.Clone(r.Context())
	again.URL.Scheme, again.URL.Host, again.Header = "https", r.Host, http.Header{}
	for name := range strings.SplitSeq(parts[4], ";") {
		if values := r.Header.Values(name); len(values) > 0 && !strings.EqualFold(name, "X-Amz-Date") && !strings.EqualFold(name, "X-Amz-Security-Token") {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	if said := r.Header.Get("X-Amz-Content-Sha256"); said != "" {
		digest = said
	}
	err = signer.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: parts[1], SecretAccessKey: key.secret, SessionToken: key.session},
		again, digest, parts[3], parts[2], at)
	return err == nil && signature(again.Header.Get("Authorization")) == signature(said)
}

func signature(authorization string) string {
	_, found, _ := strings.Cut(authorization, "Signature=")
	return found
}

// answer writes JSON.
func answer(w http.ResponseWriter, content any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	_ = json.NewEncoder(w).Encode(content) // a client that is gone needs none
}
