/* The limit: librabbitmq, persistent and confirmed publishes in a window, coalesced acks.
 *   client send N    publish N messages, at most 1000 unconfirmed; prints one JSON line
 *   client work      consume with prefetch 200, a mark for each message
 * Reads BENCH_HOST, BENCH_PORT, BENCH_VHOST, BENCH_USER, BENCH_PASSWORD, BENCH_PAYLOAD, BENCH_MARKS.
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 1000
#define PREFETCH 200

static amqp_bytes_t queue;

static void fail(const char *what) {
    fprintf(stderr, "expected %s to succeed\n", what);
    exit(1);
}

static void check(amqp_connection_state_t connection, const char *what) {
    if (amqp_get_rpc_reply(connection).reply_type != AMQP_RESPONSE_NORMAL) fail(what);
}

static double seconds(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static amqp_connection_state_t open_connection(void) {
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    if (amqp_socket_open(socket, getenv("BENCH_HOST"), atoi(getenv("BENCH_PORT")))) fail("connecting");
    if (amqp_login(connection, getenv("BENCH_VHOST"), 0, 131072, 0, AMQP_SASL_METHOD_PLAIN,
                   getenv("BENCH_USER"), getenv("BENCH_PASSWORD")).reply_type != AMQP_RESPONSE_NORMAL)
        fail("logging in");
    amqp_channel_open(connection, 1);
    check(connection, "opening a channel");
    amqp_table_entry_t quorum = {.key = amqp_cstring_bytes("x-queue-type")};
    quorum.value.kind = AMQP_FIELD_KIND_UTF8;
    quorum.value.value.bytes = amqp_cstring_bytes("quorum");
    amqp_table_t arguments = {.num_entries = 1, .entries = &quorum};
    amqp_queue_declare(connection, 1, queue, 0, 1, 0, 0, arguments);
    check(connection, "declaring the queue");
    return connection;
}

static long confirmed_by(amqp_connection_state_t connection, long confirmed) {
    amqp_frame_t frame;
    if (amqp_simple_wait_frame(connection, &frame) != AMQP_STATUS_OK) fail("reading a frame");
    if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
        fail("every publish being confirmed");
    amqp_basic_ack_t *ack = frame.payload.method.decoded;
    /* Confirms come in order from one queue: a single one counts as one. */
    long now = ack->multiple ? (long)ack->delivery_tag : confirmed + 1;
    amqp_maybe_release_buffers(connection);
    return now;
}

static void send_all(amqp_connection_state_t connection, long count) {
    long size = atol(getenv("BENCH_PAYLOAD")), sent = 0, confirmed = 0;
    char *body = malloc(size + 1);
    memset(body, 'x', size);
    amqp_bytes_t payload = {.len = size, .bytes = body};
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
    amqp_confirm_select(connection, 1);
    check(connection, "turning confirms on");
    double before = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (confirmed < count) {
        if (sent < count && sent - confirmed < WINDOW) {
            if (amqp_basic_publish(connection, 1, amqp_empty_bytes, queue, 1, 0, &properties, payload))
                fail("publishing");
            sent++;
        } else {
            confirmed = confirmed_by(connection, confirmed);
        }
    }
    printf("{\"seconds\": %f, \"cpu\": %f, \"timed\": %ld, \"sent\": %ld}\n",
           seconds(CLOCK_MONOTONIC) - before, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, count, count);
}

static void work(amqp_connection_state_t connection) {
    int marks = open(getenv("BENCH_MARKS"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    amqp_basic_qos(connection, 1, 0, PREFETCH, 0);
    amqp_basic_consume(connection, 1, queue, amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    check(connection, "consuming");
    unsigned held = 0;
    for (;;) {
        amqp_envelope_t envelope;
        struct timeval none = {0, held ? 0 : 100000};
        amqp_maybe_release_buffers(connection);
        amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, &none, 0);
        static uint64_t last;
        if (reply.reply_type == AMQP_RESPONSE_NORMAL) {
            if (write(marks, ".", 1) != 1) fail("writing a mark");
            last = envelope.delivery_tag;
            amqp_destroy_envelope(&envelope);
            held++;
        } else if (reply.library_error != AMQP_STATUS_TIMEOUT) {
            fail("reading a message");
        }
        if (held && (held >= PREFETCH / 4 || reply.reply_type != AMQP_RESPONSE_NORMAL)) {
            amqp_basic_ack(connection, 1, last, 1);
            held = 0;
        }
    }
}

int main(int count, char **words) {
    if (count < 2) fail("a command");
    queue = amqp_cstring_bytes("native");
    amqp_connection_state_t connection = open_connection();
    if (!strcmp(words[1], "work")) work(connection);
    else send_all(connection, atol(words[2]));
    return 0;
}
