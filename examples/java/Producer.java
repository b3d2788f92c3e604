// Prints the message of a registration, for the queue of commands.
import com.example.users.RegisterUser;
import java.time.Instant;
import java.util.UUID;

public class Producer {
    public static void main(String[] arguments) {
        var user = new RegisterUser();
        user.setEmail(arguments[0]);
        user.setFirstName("Ada");
        user.setPasswordHash(arguments[1]); // argon2id, as security.md describes
        System.out.println("""
            {"specversion": "1.0", "id": "%s", "source": "/signup", "time": "%s",
             "type": "biome.user.RegisterUser.v1",
             "data": {"email": %s, "first_name": %s, "password_hash": %s}}
            """.formatted(UUID.randomUUID(), Instant.now(), json(user.getEmail()),
                json(user.getFirstName()), json(user.getPasswordHash())));
    }

    private static String json(String text) {
        var escaped = new StringBuilder("\"");
        for (char each : text.toCharArray()) {
            boolean plain = each >= ' ' && each != '"' && each != '\\';
            escaped.append(plain ? each : "\\u%04x".formatted((int) each));
        }
        return escaped.append('"').toString();
    }
}
