mod bounds;
mod byzantine;
mod network;
mod normal_case;
mod random;
mod restart;
mod view_change;
