// Prints the message of a registration, for the queue of commands.
import com.example.users.Data;
import com.example.users.RegisterUser;
import com.example.users.Specversion;
import com.example.users.Type;
import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Instant;
import java.util.UUID;

public class Producer {
    public static void main(String[] arguments) throws Exception {
        var user = new Data();
        user.setEmail(arguments[0]);
        user.setFirstName("Ada");
        user.setPasswordHash(arguments[1]); // argon2id, as security.md describes
        var message = new RegisterUser();
        message.setSpecversion(Specversion.THE_10);
        message.setType(Type.BIOME_USER_REGISTER_USER_V1);
        message.setID(UUID.randomUUID().toString()); // keep it when you send the command again
        message.setSource("/signup");
        message.setSubject(UUID.randomUUID().toString()); // the user's id
        message.setTime(Instant.now().toString());
        message.setData(user);
        var json = new ObjectMapper().setSerializationInclusion(JsonInclude.Include.NON_NULL);
        System.out.println(json.writeValueAsString(message));
    }
}
