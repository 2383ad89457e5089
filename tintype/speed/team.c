/* Who computes: torch's threads where they can be had, the system's where not. */

#include "kernels.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct {
    Work *work;
    const void *job;
    int64_t items;
    size_t room;
    atomic_llong next;
    atomic_int short_of_memory;
} Shared;

static void member(void *of) {
    Shared *shared = of;
    void *memory = aligned_alloc(64, (shared->room + 64) / 64 * 64);
    if (!memory) shared->short_of_memory = 1;
    for (int64_t item; memory && (item = atomic_fetch_add(&shared->next, 1)) < shared->items;)
        shared->work(shared->job, item, memory);
    free(memory);
}

static void *thread(void *of) {
    member(of);
    return NULL;
}

typedef void Team(void (*)(void *), void *, unsigned, unsigned); /* as GOMP_parallel is */

static Team *team;

/* torch's own threads, which wait for work by spinning: others beside them would have to wait for a turn. */
void tintype_use(Team *of_torch) { team = of_torch; }

int tintype_share(Work *work, const void *job, int64_t items, size_t room, int threads) {
    Shared shared = {.work = work, .job = job, .items = items, .room = room};
    if (team && threads > 1) {
        team(member, &shared, (unsigned)threads, 0);
        return shared.short_of_memory;
    }
    pthread_t others[threads];
    int begun = 0;
    while (begun < threads - 1 && begun < items - 1 && !pthread_create(others + begun, NULL, thread, &shared)) begun++;
    member(&shared);
    while (begun) pthread_join(others[--begun], NULL);
    return shared.short_of_memory;
}

int tintype_here(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
