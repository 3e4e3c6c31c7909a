#include "pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace ost {
namespace {

constexpr int SPINS = 20000;  // longer than a training step lets threads wait between two calls

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

float *allocate(size_t floats) {
    return static_cast<float *>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64));
}

// Workers are never joined: they live as long as the process, and wait where they cost nothing.
class Pool {
  public:
    bool take() { return !taken_.exchange(true, std::memory_order_acquire); }
    void give_back() { taken_.store(false, std::memory_order_release); }

    // How many threads there are for so many asked for; fewer when the system gives no more.
    int grow(int threads) {
        while (static_cast<int>(workers_) < threads - 1) {
            try {
                std::thread(&Pool::wait_for_work, this, workers_ + 1, round_.load()).detach();
            } catch (const std::system_error &) {
                break;
            }
            workers_++;
        }
        return std::min(threads, workers_ + 1);
    }

    void run(int threads, const std::function<void(int)> &work) {
        if (threads == 1) return work(0);
        work_ = &work;
        threads_ = threads;
        left_.store(workers_, std::memory_order_relaxed);
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            round_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        work(0);
        for (int spins = 0; left_.load(std::memory_order_acquire) > 0; spins++) spins < SPINS ? pause() : void(sched_yield());
    }

    float *memory(size_t floats) {
        if (floats > room_) {
            std::free(memory_);
            memory_ = allocate(floats);
            room_ = memory_ ? floats : 0;
        }
        return memory_;
    }

  private:
    void wait_for_work(int rank, unsigned seen) {
        for (;;) {
            for (int spins = 0; spins < SPINS && round_.load(std::memory_order_acquire) == seen; spins++) pause();
            if (round_.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
            }
            seen++;
            if (rank < threads_) (*work_)(rank);
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    std::atomic<bool> taken_{false};
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<unsigned> round_{0};
    std::atomic<int> left_{0};
    const std::function<void(int)> *work_ = nullptr;
    int threads_ = 1;
    int workers_ = 0;
    float *memory_ = nullptr;
    size_t room_ = 0;
};

// Never freed: a worker may still wait in it while the process ends. A forked child has only the thread that forked, so
// it starts over with a new one.
Pool *pool = nullptr;

Pool &shared_pool() {
    static std::once_flag once;
    std::call_once(once, [] {
        pool = new Pool;
        pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
    });
    return *pool;
}

}  // namespace

Lease::Lease(int threads) : shared_(shared_pool().take()), threads_(shared_ ? pool->grow(threads) : 1) {}

Lease::~Lease() {
    if (shared_) pool->give_back();
    std::free(own_);
}

float *Lease::memory(size_t floats) {
    if (shared_) return pool->memory(floats);
    return own_ = allocate(floats);
}

void Lease::run(const std::function<void(int)> &work) {
    shared_ ? pool->run(threads_, work) : work(0);
}

void Barrier::wait() {
    if (parties_ == 1) return;
    const unsigned round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == parties_ - 1) {
        arrived_.store(0, std::memory_order_relaxed);
        round_.store(round + 1, std::memory_order_release);
        return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; spins++) spins < SPINS ? pause() : void(sched_yield());
}

}  // namespace ost
