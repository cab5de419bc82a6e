package clouds

import (
	"net/http"
	"time"
)

const (
	// MetadataHost is where a machine of each cloud asks for its identity, by plain
	// HTTP.
	MetadataHost = "169.254.169.254"
	machineRole  = "node-role"
)

// Machine is the metadata service of a machine in all three clouds at once. It
// gives nothing to who leaves out what keeps a web page, or a server that was
// tricked into a request, from asking.
func (c *Clouds) Machine() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, r *http.Request) {
		ttl := r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds")
		if ttl == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl)
		_, _ = w.Write([]byte(c.give("metadata")))
	})
	const roles = "GET /latest/meta-data/iam/security-credentials/"
	mux.HandleFunc(roles+"{$}", c.ofInstance(func(w http.ResponseWriter) { _, _ = w.Write([]byte(machineRole)) }))
	mux.HandleFunc(roles+machineRole, c.ofInstance(func(w http.ResponseWriter) {
		id, key := c.giveKey()
		answer(w, map[string]any{
			"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": time.Now().UTC().Format(time.RFC3339), "AccessKeyId": id,
			"SecretAccessKey": key.secret, "Token": key.session, "Expiration": time.Now().Add(lifetime).UTC().Format(time.RFC3339),
		})
	}))
	mux.HandleFunc("GET /metadata/identity/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		c.ask("machine")
		if r.Header.Get("Metadata") != "true" || r.FormValue("api-version") == "" || r.Header.Get("X-Forwarded-For") != "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer(w, map[string]any{"token_type": "Bearer", "expires_in": "3600", "resource": r.FormValue("resource"), "access_token": c.give(r.FormValue("resource") + "/.default")})
	})
	mux.HandleFunc("GET /computeMetadata/v1/instance/service-accounts/default/token", func(w http.ResponseWriter, r *http.Request) {
		c.ask("machine")
		if r.Header.Get("Metadata-Flavor") != "Google" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Metadata-Flavor", "Google")
		answer(w, map[string]any{"access_token": c.give(GoogleAPI), "expires_in": int(lifetime / time.Second), "token_type": "Bearer"})
	})
	return mux
}

// ofInstance answers who has a token of Amazon's metadata service.
func (c *Clouds) ofInstance(then func(http.ResponseWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.ask("machine")
		if !c.Good(r.Header.Get("X-Aws-Ec2-Metadata-Token"), "metadata") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		then(w)
	}
}
