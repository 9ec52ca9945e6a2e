mod bounds;
mod byzantine;
mod network;
mod normal_case;
mod random;
mod real_keys;
mod restart;
mod view_change;
