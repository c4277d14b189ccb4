package envelope

import (
	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// Purposes of what is sealed; they are part of its place.
const (
	contentPurpose  = "skerry secret v1"
	dataKeyPurpose  = "skerry secret data key v1"
	siteKeyPurpose  = "skerry site key for secrets v1"
	deliveryPurpose = "skerry delivered secret v1"
)

// SiteKeyPlace is what a wrap of the site's key is bound to: its version, and
// whom it is for, a `node` or a `recovery` key.
func SiteKeyPlace(siteID string, version uint64, role, name string) Place {
	return At(siteKeyPurpose, siteID, version, role, name)
}

// DataKeyPlace is what a data key is bound to under a version of the site's key.
func DataKeyPlace(siteID, project, name string, version, keyVersion uint64) Place {
	return At(dataKeyPurpose, siteID, project, name, version, keyVersion)
}

// DeliveryPlace is what the data key of a secret is bound to on its way to a
// node.
func DeliveryPlace(siteID, project, name string, version uint64, node string) Place {
	return At(deliveryPurpose, siteID, project, name, version, node)
}

func contentPlace(siteID, project, name string, version uint64) Place {
	return At(contentPurpose, siteID, project, name, version)
}

// EncryptValues seals the values of one version of a secret.
func EncryptValues(dataKey []byte, siteID, project, name string, version uint64, values map[string][]byte) ([]byte, error) {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(&sitev1.SecretValues{Values: values})
	if err != nil {
		return nil, err
	}
	return Encrypt(dataKey, contentPlace(siteID, project, name, version), encoded)
}

// DecryptValues opens what EncryptValues sealed.
func DecryptValues(dataKey []byte, siteID, project, name string, version uint64, ciphertext []byte) (map[string][]byte, error) {
	encoded, err := Decrypt(dataKey, contentPlace(siteID, project, name, version), ciphertext)
	if err != nil {
		return nil, err
	}
	values := &sitev1.SecretValues{}
	if err := proto.Unmarshal(encoded, values); err != nil {
		return nil, ErrSealed
	}
	return values.GetValues(), nil
}
