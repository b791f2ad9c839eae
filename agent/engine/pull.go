package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
)

// When an image is pulled.
const (
	PullMissing = "missing" // unless the engine has it
	PullAlways  = "always"
	PullNever   = "never"
)

// ensure brings an image to the engine, as the policy says.
func (e *Engine) ensure(ctx context.Context, image, policy string, say Say) error {
	if policy != PullAlways {
		_, err := e.api.ImageInspect(ctx, image)
		switch {
		case err == nil:
			return nil
		case !cerrdefs.IsNotFound(err):
			return fmt.Errorf("look for the image %s: %w", image, err)
		case policy == PullNever:
			return fmt.Errorf("the engine has no image %s, and the task says never to pull it", image)
		}
	}
	began := time.Now()
	say("pulling %s", image)
	if err := e.pull(ctx, image); err != nil {
		return fmt.Errorf("pull %s: %w", image, err)
	}
	say("pulled %s in %s", image, time.Since(began).Round(100*time.Millisecond))
	return nil
}

func (e *Engine) pull(ctx context.Context, image string) error {
	auth, err := e.credentials(image)
	if err != nil {
		return err
	}
	answer, err := e.api.ImagePull(ctx, image, client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return err
	}
	defer answer.Close()
	return answer.Wait(ctx)
}

// dockerHub is what Docker's configuration calls the registry that images without one are from.
const (
	dockerHub  = "https://index.docker.io/v1/"
	hubsDomain = "docker.io"
)

// credentials finds those of an image's registry, in the form the engine wants; none if there are none. The file is read
// each time, so that it can be changed while the agent runs.
func (e *Engine) credentials(image string) (string, error) {
	if e.cfg.Registries == "" {
		return "", nil
	}
	name, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("read the name of the image: %w", err)
	}
	body, err := os.ReadFile(e.cfg.Registries)
	if err != nil {
		return "", fmt.Errorf("read the credentials of registries: %w", err)
	}
	var file struct {
		Auths map[string]registry.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(body, &file); err != nil { // the error does not repeat what is in the file
		return "", fmt.Errorf("read the credentials of registries in %s: it is not a config.json of Docker", e.cfg.Registries)
	}
	domain := reference.Domain(name)
	for key, auth := range file.Auths {
		if registryOf(key) != domain {
			continue
		}
		if auth.ServerAddress = key; auth.Auth != "" {
			if auth, err = unpack(auth); err != nil {
				return "", fmt.Errorf("read the credentials of %s in %s: %w", key, e.cfg.Registries, err)
			}
		}
		return authconfig.Encode(auth)
	}
	return "", nil
}

// registryOf is the domain that a key of config.json stands for.
func registryOf(key string) string {
	if key == dockerHub {
		return hubsDomain
	}
	_, after, found := strings.Cut(key, "://")
	if found {
		key = after
	}
	domain, _, _ := strings.Cut(key, "/")
	return domain
}

// unpack reads the name and password that config.json keeps in one.
func unpack(auth registry.AuthConfig) (registry.AuthConfig, error) {
	plain, err := base64.StdEncoding.DecodeString(auth.Auth)
	user, password, ok := strings.Cut(string(plain), ":")
	if err != nil || !ok {
		return auth, errors.New("auth is not the base64 of USER:PASSWORD")
	}
	auth.Username, auth.Password, auth.Auth = user, strings.TrimRight(password, "\x00"), ""
	return auth, nil
}
