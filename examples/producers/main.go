// Prints the message of a registration, for the queue of commands.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"example.com/producer/build/users"
)

func main() {
	userID, now := newUUID(), time.Now().UTC().Format(time.RFC3339Nano)
	message := users.RegisterUser{
		Specversion: users.The10,
		Type:        users.BiomeUserRegisterUserV1,
		ID:          newUUID(), // keep it when you send the command again
		Source:      "/signup",
		Subject:     &userID,
		Time:        &now,
		Data: users.Data{
			Email:        os.Args[1],
			FirstName:    "Ada",
			PasswordHash: os.Args[2], // argon2id, as security.md describes
		},
	}
	if err := json.NewEncoder(os.Stdout).Encode(message); err != nil {
		panic(err)
	}
}

func newUUID() string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
