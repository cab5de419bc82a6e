package apply

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A line without "=" of a decrypted file is a key of the Secret.
func TestErrorsShowNoKeyOfASecret(t *testing.T) {
	for field, want := range map[string]string{
		"data[MIIEvQ+/]":        "data[...] FieldValueInvalid",
		"stringData.MIIEvQ\n+/": "stringData[...] FieldValueInvalid",
		"metadata.labels":       "metadata.labels FieldValueInvalid",
		"data":                  "data FieldValueInvalid",
	} {
		t.Run(field, func(t *testing.T) {
			NewWithT(t).Expect(Masked(metav1.Status{
				Reason:  metav1.StatusReasonInvalid,
				Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Field: field, Type: metav1.CauseTypeFieldValueInvalid}}},
			})).To(Equal(want))
		})
	}
}

// What a policy or a webhook says comes after its name, with any reason.
func TestErrorsShowNotWhyASecretWasDenied(t *testing.T) {
	for message, want := range map[string]string{
		`secrets "a" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: hunter2`: `secrets "a" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request; why is not shown, it may quote the data`,
		`admission webhook "w.example.com" denied the request: hunter2`:                                    `admission webhook "w.example.com" denied the request; why is not shown, it may quote the data`,
		`secrets "a" is forbidden: exceeded quota: q`:                                                      `secrets "a" is forbidden: exceeded quota: q`,
	} {
		NewWithT(t).Expect(Masked(metav1.Status{
			Reason: metav1.StatusReasonForbidden, Message: message,
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Message: message}}},
		})).To(Equal(want))
	}
	NewWithT(t).Expect(Masked(metav1.Status{
		Reason: metav1.StatusReasonInvalid, Message: "hunter2", Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Message: "hunter2"}}},
	})).To(Equal("the server's message is not shown, it may quote the data"))
}
